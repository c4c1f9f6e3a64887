#!/usr/bin/env python3
"""Measures everything and writes the results down.

usage: bench.py [--quick] [--only SECTION,...]
"""

import argparse
import datetime
import os
import subprocess
import sys
import time

import encode
import film
import makespan
import measure
import migrate
import photos
import serve
import title
import upload
import workers
from measure import ROOT, WORK

# What the encode must reach: ours, theirs, CPU, wall, bits.
ENCODE_TARGETS = [
    ("balanced", "article", 0.55, 0.50, 1.15),
    ("balanced", "shaka", 0.50, 0.45, 1.20),
    ("small", "article", 0.85, None, 1.00),
    ("small", "shaka", 0.70, None, 1.00),
]
# Bits that are called equal: rate control does not hit a number exactly.
EQUAL_BITS = 0.03
NAMES = {"article": "the article's way", "shaka": "Shaka Streamer"}


def verdict(value, target):
    """A value with its target, and whether it is met."""
    return f"{value:.2f} (≤ {target:.2f}{'' if value <= target + 0.005 else ', **missed**'})"


def makespan_text(found):
    lines = [
        "## A list of videos over a thin line",
        "",
        f"{found['clips']} clips of {found.get('lengths', '4 to 10 s')} from a local HTTP server whose line has a fixed rate. The bound is",
        "max(T_io, T_cpu): the time to fetch the files with nothing else to do, and the time to make the same",
        "packages from files on disk (the mean of a run before and one after), all measured in the same run.",
        "",
        "| case | line | T_io | T_cpu | bound | makespan | makespan / bound | first download to first encode |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['case']} | {row['rate'] / 1e6:.2f} MB/s | {row['t_io']:.1f} s | {row['t_cpu']:.1f} s "
            f"| {row['bound']:.1f} s | {row['makespan']:.1f} s | {verdict(row['ratio'], row['target'])} "
            f"| {row['delay']:.2f} s |")
    if found["article"]:
        article = found["article"]
        lines += ["", f"The article's pipeline on the balanced line: {article['wall']:.1f} s, "
                      f"**{article['times']:.2f} times** as long."]
    return lines


def encode_text(clips, scale):
    lines = [
        "## The encode",
        "",
        "The same local 1080p file, three renditions, AAC, 6 s segments; rounds interleaved, ratios taken inside a",
        "round, medians given. CPU is user and system time of all processes. Bits are those of the picture.",
        f"Quality is {scale} at 1080p against the source; the difference is ours less theirs.",
    ]
    for clip in clips:
        rounds = len(clip["runs"]["article"])
        lines += ["", f"### {clip['clip']} ({rounds} round{'s' if rounds > 1 else ''})", "",
                  f"| | CPU s per minute | wall s per minute | 1080p | 720p | 360p |", "|---|---|---|---|---|---|"]
        for name, runs in clip["runs"].items():
            per_minute = 60 / clip["seconds"]
            cells = [f"{sorted(getattr(run, kind) for run in runs)[len(runs) // 2] * per_minute:.0f}" for kind in ("cpu", "wall")]
            cells += [f"{found['quality']:.2f} at {found['kbps']:.0f} kb/s" for found in clip["verdicts"][name].values()]
            lines.append(f"| {NAMES.get(name, f'forebay, {name}')} | {' | '.join(cells)} |")
        lines += ["", "| forebay | against | CPU | wall | bits | quality 1080p | 720p | 360p |", "|---|---|---|---|---|---|---|---|"]
        for ours, theirs, cpu, wall, bits in ENCODE_TARGETS:
            found = encode.ratios(clip, ours, theirs)
            walls = verdict(found["wall"], wall) if wall else f"{found['wall']:.2f}"
            slack = EQUAL_BITS if bits == 1 else 0
            bit_cell = f"{found['bits']:.2f} (≤ {bits:.2f}{'' if found['bits'] <= bits + slack + 0.005 else ', **missed**'})"
            gains = [f"{gain:+.2f}{'' if gain >= 0 else ' **(below)**'}" for gain in found["quality"].values()]
            lines.append(f"| {ours} | {NAMES[theirs]} | {verdict(found['cpu'], cpu)} | {walls} | {bit_cell} | {' | '.join(gains)} |")
    return lines


def copying_text(found, scale):
    lines = [
        "## Copying what conforms",
        "",
        f"`{found['clip']}`: 1080p of a bitrate that the rung may have. Its packets are the 1080p rendition, or with",
        f"`--no-copy` all is encoded. {scale} is against this source.",
        "",
        "| | CPU s per minute | wall s per minute | 1080p | 720p | 360p |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in found["runs"].items():
        middle = [sorted(getattr(run, kind) for run in runs)[len(runs) // 2] for kind in ("cpu", "wall")]
        cells = [f"{seconds * 60 / found['seconds']:.0f}" for seconds in middle]
        cells += [f"{one['quality']:.2f} at {one['kbps']:.0f} kb/s" for one in found["verdicts"][name].values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines + ["", f"Copying takes **{found['cpu']:.2f} times** the CPU and {found['wall']:.2f} times the wall."]


def small_text(help_ms, memory):
    return [
        "## Small things",
        "",
        "| | measured | target |",
        "|---|---|---|",
        f"| `forebay --help` | {help_ms:.1f} ms | ≤ 20 ms |",
        f"| peak memory of forebay itself, 10,000 lines that all fail (empty, or 404; {memory['wall']:.1f} s) "
        f"| {memory['peak'] / 1e6:.0f} MB | ≤ 60 MB |",
    ]


def conditions(begun, load):
    """Where and when a section was measured."""
    versions = ", ".join(version if name in version.lower() else f"{name} {version}"
                         for name, version in measure.versions().items() if version)
    return (f"Measured {datetime.date.today().isoformat()} in {(time.monotonic() - begun) / 60:.0f} minutes, "
            f"commit {commit()}; {measure.machine()}, load average {load:.1f} at its begin; {versions}.")


def notes():
    return [
        "## What to know about these numbers",
        "",
        "* Seconds depend on the machine and on what else it does; ratios much less. A shared machine still moves single",
        "  ratios by some 5 %.",
        "* The footage is real but short (it must be free and fetchable by package managers), so it is played forth and",
        "  back. `phone` is noisy 1080p; `mixed` cuts between 720p and smaller material scaled up, which is easier.",
        "* The others run as they come: the article's way with x264's defaults, Shaka Streamer with its preset, both at",
        "  2100, 870 and 360 kb/s. One-pass rate control ends some way off these, so the bits reached are given.",
        f"* {scale()} is one opinion about quality. It does not see what it does not model, such as banding in the dark.",
        "* With a short list the first download and the last encode cannot overlap with anything, which the bound of the",
        "  makespan does not know.",
    ]


def encode_section(quick):
    clips = encode.clips(quick)
    timed = [encode.time_clip(clip, 1 if quick else ROUNDS) for clip in clips]
    judged = [encode.judge_clip(clip, SAMPLE) for clip in clips]
    return encode_text([clip | {"verdicts": verdicts} for clip, verdicts in zip(timed, judged)], scale())


def copying_section(quick):
    found = encode.time_copying(1 if quick else ROUNDS)
    return copying_text(found | {"verdicts": encode.judge_copying(SAMPLE)}, scale())


# The sections, in order. Each is a file of its own, so that one alone can be measured anew.
SECTIONS = {
    "encode": encode_section,
    "copying": copying_section,
    "title": lambda quick: title.text(title.measure_all(quick)),
    "makespan": lambda quick: makespan_text(makespan.measure_all(quick)),
    "film": lambda quick: film.text(film.measure_all(quick)),
    "queue": lambda quick: workers.text(workers.measure_all(quick)),
    "photos": lambda quick: photos.text(photos.measure_all(quick)),
    "migrate": lambda quick: migrate.text(migrate.measure_all(quick)),
    "upload": lambda quick: upload.text(upload.measure_all(quick)),
    "serve": lambda quick: serve.text(serve.measure_all(quick)),
    "small": lambda quick: small_text(makespan.help_time(), makespan.memory_of_long_list()),
}
ROUNDS = 3
# Prime to the 60 and 180 frames between key frames.
SAMPLE = 7


def scale():
    return "VMAF" if measure.quality_ffmpeg() else "SSIM × 100"


def commit():
    """The commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one clip, one round, one line")
    parser.add_argument("--only", metavar="SECTION,...", help=f"measure only these anew: {', '.join(SECTIONS)}")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    if not measure.FOREBAY.exists():
        sys.exit(f"{measure.FOREBAY} is not there; run make build")
    folder = WORK / "results-quick" if args.quick else ROOT / "bench/results"
    folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        begun, load = time.monotonic(), os.getloadavg()[0]
        lines = SECTIONS[name](args.quick)
        (folder / f"{name}.md").write_text("\n".join([*lines, "", conditions(begun, load)]) + "\n")
    files = [folder / f"{name}.md" for name in SECTIONS]
    head = "# Measured\n\nWritten by `make bench`; do not edit.\n"
    text = "\n".join([head, *(file.read_text() for file in files if file.exists()), "\n".join(notes()) + "\n"])
    target = WORK / "RESULTS-quick.md" if args.quick else ROOT / "bench/RESULTS.md"
    target.write_text(text)
    print(f"\n{text}\nwritten to {target}")


if __name__ == "__main__":
    main()
