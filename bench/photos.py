#!/usr/bin/env python3
"""Pictures of 24 megapixels made to fit into 5 MB: forebay against ImageMagick and libvips.

usage: photos.py [--quick]          prints the section; `bench.py --only photos` writes it down

The peers run on all cores too, one picture each, as a person would who knows them. Needs ImageMagick (`mogrify`,
`convert`); libvips comes from PyPI. Measured are pictures a second, CPU seconds a picture, peak memory, the largest
file, and SSIM against the originals, in the originals' own 4:2:0, as chroma at full size would count twice.
"""

import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

from measure import fresh

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "target/bench/photos"
VENV = ROOT / "target/bench/photos-venv"
LIMIT = 5_000_000
CORES = len(os.sched_getaffinity(0))
# Different pictures; more are the same under other names, as nobody's speed depends on that.
DISTINCT = 40

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


def material(pictures):
    """Photos by phone, blown up to 24 megapixels with the grain a camera of that size has."""
    originals = WORK / f"in-{pictures}"
    if (originals / ".complete").exists():
        return originals
    subprocess.run([ROOT / "scripts/media.sh"], check=True)
    shutil.rmtree(originals, ignore_errors=True)
    originals.mkdir(parents=True)
    sources = sorted((ROOT / "target/media").glob("IMG_*.jpg"))
    for number in range(pictures):
        path = originals / f"{number:03}.jpg"
        if number >= DISTINCT:
            path.hardlink_to(originals / f"{number % DISTINCT:03}.jpg")
            continue
        grain = ["-seed", str(number), "-attenuate", "0.12", "+noise", "Gaussian"]
        subprocess.run(
            ["convert", sources[number % len(sources)], "-auto-orient", "-resize", "6000x4000!", *grain,
             "-sampling-factor", "2x2", "-quality", "96", path],
            check=True,
        )
    (originals / ".complete").touch()
    return originals


def measured(command, stdin=None, **more):
    """Wall and CPU seconds of a command and its children, and the most memory one of them took, in bytes."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, **more)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def forebay(originals, *options):
    out = fresh(WORK / "forebay")
    shutil.rmtree(WORK / "state", ignore_errors=True)
    command = [ROOT / "target/release/forebay", "photos", originals, "--to", out, "--state", WORK / "state", "--quiet"]
    return out, measured([*command, *options])


def mogrify(originals):
    out = fresh(WORK / "mogrify")
    (WORK / "names").write_bytes("\0".join(str(path) for path in sorted(originals.glob("*.jpg"))).encode())
    command = ["xargs", "-0", "-n", "1", "-P", str(CORES), "mogrify", "-path", out, "-define", f"jpeg:extent={LIMIT}B"]
    with open(WORK / "names", "rb") as names:
        return out, measured(command, stdin=names, env={**os.environ, "MAGICK_THREAD_LIMIT": "1"})


def vips(originals):
    out = fresh(WORK / "vips")
    pictures = fresh(WORK / "vips-in")
    for path in originals.glob("*.jpg"):
        (pictures / path.name).symlink_to(path)
    command = [VENV / "bin/python3", "-c", VIPS, pictures, out, str(LIMIT), str(CORES)]
    return out, measured(command, env={**os.environ, "VIPS_CONCURRENCY": "1"})


def ssim(originals, out):
    """The mean over some pictures, by ffmpeg."""
    found = []
    paths = sorted(out.glob("*.jpg"))[:DISTINCT]
    for path in paths[:: max(1, len(paths) // 8)]:
        run = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "info", "-i", path, "-i", originals / path.name, "-lavfi",
             "[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]ssim", "-f", "null", "-"],
            check=True, capture_output=True, text=True,
        )
        found.append(float(re.search(r"All:([0-9.]+)", run.stderr)[1]))
    return statistics.mean(found)


def measure_all(quick):
    """What the section needs, as plain values; a reason instead where it cannot be measured."""
    if not shutil.which("mogrify"):
        return {"why": "ImageMagick is not installed (`apt-get install imagemagick`)"}
    if not (VENV / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/python3", "-m", "pip", "install", "--quiet", "pyvips[binary]"], check=True)
        (VENV / ".complete").touch()
    pictures = 6 if quick else 200
    originals = material(pictures)
    # What a thread more holds in memory.
    few = material(6)
    memory = {threads: forebay(few, "--threads", str(threads))[1][2] for threads in (1, 2)}
    rows = {}
    for name, peer in {"forebay": forebay, "mogrify": mogrify, "vips": vips}.items():
        out, (wall, cpu, peak) = peer(originals)
        files = list(out.glob("*.jpg"))
        rows[name] = {
            "wall": wall, "cpu": cpu, "peak": peak, "files": len(files),
            "largest": max(path.stat().st_size for path in files), "ssim": ssim(originals, out),
        }
    return {"pictures": pictures, "rows": rows, "memory": memory}


def text(found):
    """The section."""
    lines = ["## Pictures that fit", ""]
    if "why" in found:
        return lines + [f"Not measured: {found['why']}."]
    pictures, rows = found["pictures"], found["rows"]
    lines += [
        f"{pictures} JPEGs of 24 megapixels made to fit into {LIMIT:,} bytes on {CORES} cores, against `mogrify -define",
        "jpeg:extent` and a script for libvips that bisects the quality, both one process a core. SSIM is the mean of",
        "some, in the originals' own 4:2:0. Memory is the largest process's.",
        "",
        "| | pictures a second | CPU s a picture | peak memory | largest file | SSIM |",
        "|---|---|---|---|---|---|",
    ]
    names = {"forebay": "forebay", "mogrify": "ImageMagick", "vips": "libvips"}
    for name, row in rows.items():
        lines.append(
            f"| {names[name]} | {row['files'] / row['wall']:.2f} | {row['cpu'] / row['files']:.2f} "
            f"| {row['peak'] / 1e6:.0f} MB | {row['largest']:,} | {row['ssim']:.4f} |")
    lines.append("")
    for name, wanted in (("mogrify", 2.0), ("vips", 1.2)):
        ratio = rows[name]["wall"] / rows["forebay"]["wall"]
        gain = rows["forebay"]["ssim"] - rows[name]["ssim"]
        missed = "" if ratio >= wanted and gain >= 0 and rows["forebay"]["files"] == pictures else ", **missed**"
        lines.append(f"* **{ratio:.1f} times** as fast as {names[name]} (≥ {wanted}), SSIM {gain:+.4f} (≥ 0){missed}.")
    one, two = found["memory"][1], found["memory"][2]
    return lines + [f"* forebay's peak with one thread: {one / 1e6:.0f} MB, with two: {two / 1e6:.0f} MB."]


if __name__ == "__main__":
    print("\n".join(text(measure_all("--quick" in sys.argv))))
