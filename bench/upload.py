#!/usr/bin/env python3
"""Files into a store: `forebay migrate` against `rclone copy`, as many segments and as one large object.

usage: upload.py [--quick]           prints the section; `bench.py --only upload` writes it down
ROUNDS=N in the environment: so many instead of three

The store is a Swift of the tests on this machine, reached by its S3 side and in its own tongue. Needs rclone and
OpenStack Swift (`scripts/setup.sh --test` installs Swift). Both tools have 16 objects on their way at once and parts
of 8 MiB, four at a time, and an empty container each time. What arrived is compared by `rclone check`.
"""

import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import measure
from migrate import FOREBAY, TRANSFERS, Swift, environment, fill, measured

# What is stored, by name: objects and the bytes of each. A segment of 6 s at 2 Mb/s has 1.5 MB.
FULL = {"segments": (2_000, 1_500_000), "large": (1, 2 << 30)}
QUICK = {"segments": (60, 1_500_000), "large": (1, 64 << 20)}
# What the environment calls the place, its bucket for us, and the options by which rclone sends alike.
PLACES = {
    "S3": ("old", "bench", ["--s3-chunk-size", "8M", "--s3-upload-concurrency", "4", "--s3-upload-cutoff", "8M"]),
    "Swift": ("new", "forebay", ["--swift-chunk-size", "8M"]),
}


def measure_case(work, name, count, size, rounds):
    work.mkdir()
    server = Swift(work / "server")
    try:
        env = environment(work, server, server)

        def rclone(*arguments, fails=False):
            run = subprocess.run(["rclone", *arguments], env=env, capture_output=True, text=True)
            if run.returncode and not fails:
                sys.exit(f"rclone {arguments[0]} failed: {run.stderr[-2000:]}")

        print(f"upload: {name}: {count} files of {size} bytes are made", file=sys.stderr)
        files = work / "files"
        fill(files, count, size)
        return [measure_place(work, env, rclone, place, (name, count, size), rounds) for place in PLACES]
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)


def measure_place(work, env, rclone, place, case, rounds):
    (remote, bucket, options), (name, count, size) = PLACES[place], case
    theirs_to = f"{remote}:rclone-{remote}"
    runs = {"forebay": [], "rclone": []}
    for number in range(rounds):
        for target in (f"{remote}:{bucket}", theirs_to):
            rclone("purge", target, fails=True)
            rclone("purge", f"{target}_segments", fails=True)
        rclone("mkdir", f"{remote}:{bucket}")
        rclone("mkdir", theirs_to)
        ours = [FOREBAY, "migrate", work / "files", "--to", f"{remote}:", "--catalog", work / f"{place}-{number}.db",
                "--state", work / "state", "--transfers", str(TRANSFERS), "--quiet"]
        theirs = ["rclone", "copy", work / "files", theirs_to, "--transfers", str(TRANSFERS), "--checkers",
                  str(TRANSFERS), *options]
        tools = {"forebay": ours, "rclone": theirs}
        # Each goes first as often as the other.
        for tool in sorted(tools, reverse=number % 2 == 1):
            runs[tool].append(measured(tools[tool], env, work))
        print(f"upload: {name} to {place}, round {number + 1}: forebay {runs['forebay'][-1][0]:.1f} s, "
              f"rclone {runs['rclone'][-1][0]:.1f} s", file=sys.stderr)
    rclone("check", work / "files", f"{remote}:{bucket}", "--checkers", str(TRANSFERS))
    middle = lambda tool, at: statistics.median(run[at] for run in runs[tool])
    return {
        "place": place, "count": count, "size": size,
        "tools": {tool: {"wall": middle(tool, 0), "cpu": middle(tool, 1), "peak": middle(tool, 2)} for tool in runs},
    }


def measure_all(quick):
    """What the section needs, as plain values; a reason instead where it cannot be measured."""
    if not shutil.which("rclone"):
        return {"why": "rclone is not installed (`apt-get install rclone`)"}
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        work, cases = pathlib.Path(folder), (QUICK if quick else FULL).items()
        rounds = measure.rounds(quick)
        found = [measure_case(work / name, name, *case, rounds) for name, case in cases]
        return {"rounds": rounds, "cases": [row for rows in found for row in rows]}


def text(found):
    """The section."""
    lines = ["## Files into a store", ""]
    if "why" in found:
        return lines + [f"Not measured: {found['why']}."]
    lines += [
        f"From a disk into a Swift on the same machine, {TRANSFERS} objects at once, parts of 8 MiB, against `rclone copy`.",
        "forebay takes each file's SHA-256 and writes a row for it into SQLite meanwhile. "
        f"Rounds: {found['rounds']}, medians.",
        "",
        "| | | forebay | rclone | forebay / rclone | CPU s | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in found["cases"]:
        ours, theirs = case["tools"]["forebay"], case["tools"]["rclone"]
        amount = case["count"] * case["size"] / 1e6
        name = f"{case['count']:,} × {case['size'] / 1e6:,.1f} MB"
        speed, memory = theirs["wall"] / ours["wall"], ours["peak"] / theirs["peak"]
        missed = "" if speed >= 0.995 else ", **missed**"
        more = "" if memory <= 1 else ", **more**"
        lines.append(
            f"| {name} | {case['place']} | {amount / ours['wall']:.0f} MB/s | {amount / theirs['wall']:.0f} MB/s "
            f"| {speed:.2f} (≥ 1.00{missed}) | {ours['cpu']:.1f} and {theirs['cpu']:.1f} "
            f"| {ours['peak'] / 1e6:.0f} and {theirs['peak'] / 1e6:.0f} MB{more} |")
    return lines


if __name__ == "__main__":
    print("\n".join(text(measure_all("--quick" in sys.argv))))
