"""What the benchmark reads off: time, CPU, memory, bits, quality, versions."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target/bench"
VENV = WORK / "venv/bin"
FOREBAY = Path(os.environ.get("FOREBAY", ROOT / "target/release/forebay"))
YT_DLP = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")) / "forebay/yt-dlp/bin/yt-dlp"


@dataclass
class Run:
    """One finished command. `cpu` is user and system time of it and of all its descendants."""

    code: int
    wall: float
    cpu: float
    output: str


def rounds(quick, usual=3):
    """How many rounds to run: ROUNDS in the environment says otherwise than usual."""
    return 1 if quick else int(os.environ.get("ROUNDS", usual))


def fresh(folder):
    """Makes `folder` anew, without what an earlier run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def run(*command, check=True, **options):
    """Runs a command to its end. Its descendants count because each parent waits for its children."""
    with tempfile.TemporaryFile() as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if check and process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with {process.returncode}:\n{text[-3000:]}")
    return Run(process.returncode, wall, usage.ru_utime + usage.ru_stime, text)


def peak_memory(*command):
    """The most memory in bytes that the command itself held at any time, children apart, and its exit code."""
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        if match := re.search(r"VmHWM:\s*(\d+) kB", status):
            peak = max(peak, int(match[1]) * 1024)
        time.sleep(0.02)
    return peak, process.wait()


class Server:
    """scripts/serve.py as a child: `with Server(folder, rate) as address`."""

    def __init__(self, folder, rate=0):
        self.command = [sys.executable, ROOT / "scripts/serve.py", folder, "--rate", str(rate)]

    def __enter__(self):
        self.process = subprocess.Popen(
            list(map(str, self.command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self.process.stdout.readline().strip()

    def __exit__(self, *_):
        # Its closed stdin ends it.
        self.process.communicate()


def events(output):
    """The events of `forebay --json`, in order."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def duration(media):
    return float(run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", media).output)


def video_bits(files):
    """Bits of the picture alone, so that containers and sound do not count."""
    total = 0
    for file in files:
        packets = run("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=size",
                      "-of", "csv=p=0", file).output
        total += 8 * sum(int(size) for size in re.findall(r"\d+", packets))
    return total


def quality_ffmpeg():
    """An ffmpeg that has libvmaf, from PyPI's imageio-ffmpeg; or None."""
    found = sorted(VENV.parent.glob("lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*"))
    if not found:
        return None
    filters = run(found[-1], "-hide_banner", "-filters", check=False).output
    return found[-1] if " libvmaf " in filters else None


def score(rendition, source, sample, height=1080):
    """VMAF against the source at `height`, every `sample`th frame; SSIM times 100 where there is no VMAF.

    `sample` should be prime to the distance of key frames, or these, which are better than most, count too often.
    """
    ffmpeg = quality_ffmpeg()
    size = f"{height * 16 // 9}:{height}"
    align = f"[0:v]setpts=PTS-STARTPTS,scale={size}:flags=bicubic[a];[1:v]setpts=PTS-STARTPTS,scale={size}[b]"
    inputs = ["-allowed_extensions", "ALL"] if str(rendition).endswith(".m3u8") else []
    inputs += ["-i", rendition, "-i", source]
    if not ffmpeg:
        text = run("ffmpeg", "-hide_banner", *inputs, "-lavfi", f"{align};[a][b]ssim", "-f", "null", "-").output
        return 100 * float(re.search(r"All:([\d.]+)", text)[1])
    # One frame more or less at the end must not be compared with a frozen picture.
    measure = f"[a][b]libvmaf=n_threads={os.cpu_count()}:n_subsample={sample}:shortest=1"
    text = run(ffmpeg, "-hide_banner", *inputs, "-lavfi", f"{align};{measure}", "-f", "null", "-").output
    return float(re.search(r"VMAF score: ([\d.]+)", text)[1])


def machine():
    """One line about this machine."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024 / 1024
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{os.cpu_count()} × {model[1] if model else platform.machine()}, {memory:.0f} GiB, {system}"


def versions():
    """What was measured and with what."""
    def first_line(*command):
        return run(*command, check=False).output.split("\n")[0].strip()

    return {
        "forebay": first_line(FOREBAY, "--version"),
        "ffmpeg": first_line("ffmpeg", "-version").split(" Copyright")[0],
        "yt-dlp": first_line(YT_DLP, "--version"),
        "Shaka Streamer": first_line(VENV / "python3", "-c",
                                     "from importlib.metadata import version; print(version('shaka-streamer'))"),
        "quality": first_line(quality_ffmpeg() or "ffmpeg", "-version").split(" Copyright")[0],
    }


