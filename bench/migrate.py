#!/usr/bin/env python3
"""A bucket of S3 into OpenStack Swift: `forebay migrate` with its catalog against `rclone copy`.

usage: migrate.py [--quick]          prints the section; `bench.py --only migrate` writes it down
ROUNDS=N in the environment: so many instead of three

Source and destination are two Swifts of the tests on this machine, the first by its S3 side. Needs rclone and
OpenStack Swift (`scripts/setup.sh --test` installs Swift). Both tools have 16 objects on their way at once, and a
fresh container each time; the catalog is a SQLite file. What arrived is compared by `rclone check`.
"""

import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import measure

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOREBAY = ROOT / "target/release/forebay"
TRANSFERS = 16
# What is moved, by name: objects and the bytes of each.
FULL = {"small": (10_000, 4_000), "large": (10, 1 << 30)}
QUICK = {"small": (500, 4_000), "large": (3, 64 << 20)}


class Swift:
    """A whole Swift in one process, which ends with this script."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        script = [sys.executable if shutil.which("python3") is None else "/usr/bin/python3",
                  ROOT / "tests/servers/swift_server.py", folder]
        self.process = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def environment(work, source, destination):
    """Both tools find both places by the same words of the environment."""
    settings = work / "config/forebay"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text(f"""
[storage.old.s3]
endpoint = "http://127.0.0.1:{source.port}"
bucket = "bench"
region = "us-east-1"
access-key = "test:tester"
secret-key = "testing"
[storage.new.swift]
auth-url = "http://127.0.0.1:{destination.port}/auth/v1.0"
container = "forebay"
user = "test:tester"
password = "testing"
""")
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OS_", "RCLONE_"))}
    return {
        **usual, "XDG_CONFIG_HOME": str(work / "config"), "HOME": str(work),
        "RCLONE_CONFIG": str(work / "none"),
        "RCLONE_CONFIG_OLD_TYPE": "s3", "RCLONE_CONFIG_OLD_PROVIDER": "Other",
        "RCLONE_CONFIG_OLD_ENDPOINT": f"http://127.0.0.1:{source.port}", "RCLONE_CONFIG_OLD_REGION": "us-east-1",
        "RCLONE_CONFIG_OLD_ACCESS_KEY_ID": "test:tester", "RCLONE_CONFIG_OLD_SECRET_ACCESS_KEY": "testing",
        "RCLONE_CONFIG_NEW_TYPE": "swift", "RCLONE_CONFIG_NEW_USER": "test:tester", "RCLONE_CONFIG_NEW_KEY": "testing",
        "RCLONE_CONFIG_NEW_AUTH": f"http://127.0.0.1:{destination.port}/auth/v1.0",
    }


def measured(command, env, cwd):
    """Wall seconds, CPU seconds and peak bytes of a command."""
    begun = time.monotonic()
    with open(cwd / "said", "w", encoding="utf-8") as said:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}: {(cwd / 'said').read_text()[-2000:]}")
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def fill(folder, count, size):
    """Files that no server can make smaller."""
    draw = random.Random(count)
    for number in range(count):
        path = folder / f"{number % 50:02}/{number:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for _ in range(0, size, 1 << 20):
                file.write(draw.randbytes(min(size, 1 << 20)))


def measure_case(work, name, count, size, rounds):
    work.mkdir()
    source, destination = Swift(work / "source"), Swift(work / "destination")
    try:
        env = environment(work, source, destination)

        def rclone(*arguments):
            run = subprocess.run(["rclone", *arguments], env=env, capture_output=True, text=True)
            if run.returncode:
                sys.exit(f"rclone {arguments[0]} failed: {run.stderr[-2000:]}")

        print(f"migrate: {name}: {count} objects of {size} bytes are made", file=sys.stderr)
        fill(work / "files", count, size)
        rclone("copy", work / "files", "old:bench", "--transfers", str(TRANSFERS), "--fast-list")
        shutil.rmtree(work / "files")
        runs = {"forebay": [], "rclone": []}
        for round_number in range(rounds):
            for place in ("new:forebay", "new:rclone"):
                subprocess.run(["rclone", "purge", place], env=env, capture_output=True)
                subprocess.run(["rclone", "purge", f"{place}_segments"], env=env, capture_output=True)
            rclone("mkdir", "new:forebay")
            catalog = work / f"catalog-{round_number}.db"
            ours = [FOREBAY, "migrate", "old:", "--to", "new:", "--catalog", catalog, "--state", work / "state",
                    "--transfers", str(TRANSFERS), "--quiet"]
            theirs = ["rclone", "copy", "old:bench", "new:rclone", "--transfers", str(TRANSFERS),
                      "--checkers", str(TRANSFERS), "--fast-list"]
            runs["forebay"].append(measured(ours, env, work))
            runs["rclone"].append(measured(theirs, env, work))
            print(f"migrate: {name}, round {round_number + 1}: forebay {runs['forebay'][-1][0]:.1f} s, "
                  f"rclone {runs['rclone'][-1][0]:.1f} s", file=sys.stderr)
            with contextlib.closing(sqlite3.connect(catalog)) as opened:
                rows = opened.execute("SELECT COUNT(*) FROM object").fetchone()[0]
            if rows != count:
                sys.exit(f"the catalog has {rows} rows for {count} objects")
        rclone("check", "old:bench", "new:forebay", "--checkers", str(TRANSFERS))
        again = measured(ours, env, work)
    finally:
        source.stop()
        destination.stop()
        shutil.rmtree(work, ignore_errors=True)
    middle = lambda tool, at: statistics.median(run[at] for run in runs[tool])
    return {
        "name": name, "count": count, "size": size, "again": again[0],
        "tools": {tool: {"wall": middle(tool, 0), "cpu": middle(tool, 1), "peak": middle(tool, 2)} for tool in runs},
    }


def measure_all(quick):
    """What the section needs, as plain values; a reason instead where it cannot be measured."""
    if not shutil.which("rclone"):
        return {"why": "rclone is not installed (`apt-get install rclone`)"}
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        cases = (QUICK if quick else FULL).items()
        work = pathlib.Path(folder)
        rounds = measure.rounds(quick)
        return {"rounds": rounds, "cases": [measure_case(work / name, name, *case, rounds) for name, case in cases]}


def text(found):
    """The section."""
    lines = ["## A bucket moved", ""]
    if "why" in found:
        return lines + [f"Not measured: {found['why']}."]
    lines += [
        "From one Swift, by its S3 side, to another on the same machine, 16 objects at once, against `rclone copy`.",
        f"forebay writes a row for each object into SQLite meanwhile. Rounds: {found['rounds']}, medians.",
        "",
        "| | forebay | rclone | forebay / rclone | CPU s | peak memory | a second run |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in found["cases"]:
        ours, theirs = case["tools"]["forebay"], case["tools"]["rclone"]
        if case["size"] >= 1 << 20:
            amount = case["count"] * case["size"] / 1e6
            name, rate = f"{case['count']} objects of {case['size'] >> 20} MiB", "MB/s"
        else:
            amount, name, rate = case["count"], f"{case['count']:,} objects of {case['size'] / 1e3:.0f} kB", "objects/s"
        speed = theirs["wall"] / ours["wall"]
        missed = "" if speed >= 0.995 else ", **missed**"
        lines.append(
            f"| {name} | {amount / ours['wall']:.0f} {rate} | {amount / theirs['wall']:.0f} {rate} "
            f"| {speed:.2f} (≥ 1.00{missed}) | {ours['cpu']:.1f} and {theirs['cpu']:.1f} "
            f"| {ours['peak'] / 1e6:.0f} and {theirs['peak'] / 1e6:.0f} MB | {case['again']:.1f} s |")
    return lines


if __name__ == "__main__":
    print("\n".join(text(measure_all("--quick" in sys.argv))))
