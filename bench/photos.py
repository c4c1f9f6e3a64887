"""Pictures of 24 megapixels made to fit into 5 MB: forebay against ImageMagick and libvips.

usage: bench/photos.py [--quick]          needs target/release/forebay and bench/run.sh's venv

The peers run on all cores too, one picture each, as a person would who knows them. Runs are interleaved, so that
whatever else the machine does meets all alike. Prints pictures a second, CPU seconds a picture, the largest file,
and SSIM against the originals.
"""

import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "target/bench/photos"
VENV = ROOT / "target/bench/photos-venv"
LIMIT = 5_000_000
QUICK = "--quick" in sys.argv
PICTURES, ROUNDS = (6, 1) if QUICK else (200, 3)
CORES = len(os.sched_getaffinity(0))

# Decodes once and bisects the quality in memory: what a careful libvips user would write.
VIPS = """
import multiprocessing, pathlib, sys
import pyvips
pyvips.cache_set_max(0)
def fit(path):
    image = pyvips.Image.new_from_file(path).copy_memory()
    low, high, best = 30, 95, None
    while low <= high:
        quality = (low + high) // 2
        data = image.jpegsave_buffer(Q=quality, optimize_coding=True)
        if len(data) <= int(sys.argv[3]):
            low, best = quality + 1, data
        else:
            high = quality - 1
    (pathlib.Path(sys.argv[2]) / pathlib.Path(path).name).write_bytes(best)
with multiprocessing.Pool(int(sys.argv[4])) as pool:
    pool.map(fit, sorted(map(str, pathlib.Path(sys.argv[1]).iterdir())), chunksize=1)
"""


def material():
    """Photos by phone, blown up to 24 megapixels with the grain a camera of that size has."""
    originals = WORK / f"in-{PICTURES}"
    if (originals / ".complete").exists():
        return originals
    subprocess.run([ROOT / "scripts/media.sh"], check=True)
    originals.mkdir(parents=True, exist_ok=True)
    sources = sorted((ROOT / "target/media").glob("IMG_*.jpg"))
    for number in range(PICTURES):
        grain = ["-seed", str(number), "-attenuate", "0.12", "+noise", "Gaussian"]
        subprocess.run(
            ["convert", sources[number % len(sources)], "-auto-orient", "-resize", "6000x4000!", *grain,
             "-sampling-factor", "2x2", "-quality", "96", originals / f"{number:03}.jpg"],
            check=True,
        )
    (originals / ".complete").touch()
    return originals


def fresh(name):
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def measured(command, **more):
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - begun, cpu


def forebay(originals):
    out = fresh("forebay")
    shutil.rmtree(WORK / "state", ignore_errors=True)
    command = [ROOT / "target/release/forebay", "photos", originals, "--to", out, "--state", WORK / "state", "--quiet"]
    return out, measured(command)


def mogrify(originals):
    out = fresh("mogrify")
    names = "\0".join(str(path) for path in sorted(originals.glob("*.jpg"))).encode()
    command = ["xargs", "-0", "-n", "1", "-P", str(CORES), "mogrify", "-path", out, "-define", f"jpeg:extent={LIMIT}B"]
    return out, measured(command, input=names, env={**os.environ, "MAGICK_THREAD_LIMIT": "1"})


def vips(originals):
    out = fresh("vips")
    pictures = fresh("vips-in")
    for path in originals.glob("*.jpg"):
        (pictures / path.name).symlink_to(path)
    command = [VENV / "bin/python3", "-c", VIPS, pictures, out, str(LIMIT), str(CORES)]
    return out, measured(command, env={**os.environ, "VIPS_CONCURRENCY": "1"})


def ssim(originals, out):
    """The mean over some pictures, by ffmpeg."""
    found = []
    for path in sorted(out.glob("*.jpg"))[:: max(1, PICTURES // 6)]:
        run = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "info", "-i", path, "-i", originals / path.name,
             "-lavfi", "[0:v][1:v]ssim", "-f", "null", "-"],
            check=True, capture_output=True, text=True,
        )
        found.append(float(re.search(r"All:([0-9.]+)", run.stderr)[1]))
    return statistics.mean(found)


def main():
    if not (VENV / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/python3", "-m", "pip", "install", "--quiet", "pyvips[binary]"], check=True)
        (VENV / ".complete").touch()
    originals = material()
    peers = {"forebay": forebay, "mogrify": mogrify, "vips": vips}
    walls, cpus, outs = {name: [] for name in peers}, {name: [] for name in peers}, {}
    for _ in range(ROUNDS):
        for name, peer in peers.items():
            outs[name], (wall, cpu) = peer(originals)
            walls[name].append(wall)
            cpus[name].append(cpu)
    print(f"{PICTURES} pictures of 24 MP into {LIMIT} bytes, {CORES} cores, {ROUNDS} rounds, medians")
    quality = {}
    for name, out in outs.items():
        files = list(out.glob("*.jpg"))
        largest = max(path.stat().st_size for path in files)
        quality[name] = ssim(originals, out)
        wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
        print(f"{name:8} {PICTURES / wall:6.2f} pictures/s  {cpu / PICTURES:5.2f} CPU s each  "
              f"{len(files)} files, largest {largest}  SSIM {quality[name]:.4f}")
    for name, wanted in (("mogrify", 2.0), ("vips", 1.2)):
        ratio = statistics.median(walls[name]) / statistics.median(walls["forebay"])
        worse = quality[name] - quality["forebay"]
        print(f"forebay is {ratio:.2f} x as fast as {name} (wanted: {wanted}), SSIM {-worse:+.4f}")


if __name__ == "__main__":
    main()
