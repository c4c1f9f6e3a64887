#!/usr/bin/env python3
"""How long one film takes two workers, against one: each is pinned to a core of its own.

The workers share a queue in a file and the destination, and nothing else; the film comes from a web
server. Two cores are often slower together than one alone, as they share memory, caches or even the core
itself. So each also makes a film of its own while the other does: half of that time is the bound that no
way of sharing can beat. `--quick`, `--seconds N` of film, `--forebay PROGRAM`, `--film FILE`; ROUNDS=N in
the environment: so many instead of two.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import material
import measure
from measure import WORK, fresh

# The time of two workers by that of one.
TARGET = 0.55

# Of a film in 720p: what the last chunk leaves idle is little of a long one.
SECONDS = 300


def settings(folder, core, share_after):
    """The environment of one worker."""
    return os.environ | {
        "FOREBAY_QUEUE__URL": f"sqlite:{folder / 'queue.db'}",
        "FOREBAY_LANES__THREADS": "1",
        "FOREBAY_WORKER__NAME": f"core-{core}",
        "FOREBAY_WORKER__SHARE_AFTER": share_after,
        "FOREBAY_WORKER__INPUTS": "http:",
        "FOREBAY_WORKER__PRIVATE_HOSTS": "*",
        "FOREBAY_HLS__COPY": "false",
    }


def take(program, url, cores, share_after, name="film"):
    """Seconds that workers on `cores` take, and the chunks that each has made."""
    folder = fresh(WORK / name)
    environment = settings(folder, "none", share_after)
    workers = [
        subprocess.Popen(
            ["taskset", "-c", str(core), program, "worker", "--state", folder / f"state-{core}", "--to", folder / "site"],
            env=settings(folder, core, share_after), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=open(folder / f"worker-{core}.log", "w"))
        for core in cores
    ]

    def forebay(*arguments):
        return subprocess.run([program, *arguments], env=environment, check=True, capture_output=True, text=True).stdout

    try:
        # Workers that start are no part of the film.
        time.sleep(2)
        forebay("submit", "hls", url, "--to", folder / "site", "--id", "film")
        while True:
            time.sleep(0.5)
            records = [json.loads(line) for line in forebay("jobs", "--json", "list", "--chunks", "--limit", "10000").splitlines()]
            film = next(record for record in records if record["job"]["kind"] == "hls")
            if film["state"] == "done":
                break
            if film["state"] == "dead" or any(worker.poll() is not None for worker in workers):
                sys.exit(f"the film failed: {film['log']}")
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()
    made = {}
    for record in records:
        if record["job"]["kind"] == "chunk":
            made[record["worker"]] = made.get(record["worker"], 0) + 1
    package = {str(file.relative_to(folder)): file.read_bytes() for file in (folder / "site").rglob("*.ts")}
    return (film["ended"] - film["started"]) / 1000, made, package


def measure_all(quick, seconds=SECONDS, film=None, program=None):
    """Rounds of one worker and of two, as plain values; a reason instead where it cannot be measured."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return {"why": "it takes two cores"}
    WORK.mkdir(parents=True, exist_ok=True)
    film, program = film or material.mixed(seconds, (1280, 720)), (program or measure.FOREBAY).absolute()
    rounds = []
    with measure.Server(film.parent) as address:
        url = f"{address}/{film.name}"
        with concurrent.futures.ThreadPoolExecutor() as pool:
            each = list(pool.map(lambda core: take(program, url, [core], "1000h", f"film-{core}")[0], cores))
        print(f"film: two at once, a core each: {each[0]:.1f} and {each[1]:.1f} s", file=sys.stderr, flush=True)
        crowded = statistics.mean(each)
        for number in range(measure.rounds(quick, 2)):
            alone, _, one = take(program, url, cores[:1], "1000h")
            both, made, two = take(program, url, cores, "1s")
            if one != two:
                sys.exit("two workers made another package than one")
            rounds.append({"alone": alone, "both": both, "chunks": sorted(made.values())})
            print(f"film, round {number + 1}: one worker {alone:.1f} s, two {both:.1f} s: {both / alone:.3f}; "
                  f"chunks by worker: {made}", file=sys.stderr, flush=True)
    return {"film": film.stem, "seconds": measure.duration(film), "crowded": crowded, "rounds": rounds}


def text(found):
    """The section."""
    lines = ["## One film on two workers", ""]
    if "why" in found:
        return lines + [f"Not measured: {found['why']}."]
    lines += [
        f"`{found['film']}`, {found['seconds']:.0f} s from a web server, made by one worker that is pinned to a core, and by two that",
        "are pinned to a core each and share the queue, the destination and nothing else. The packages are the same.",
        "",
        "| round | one worker | two | two / one | chunks of each |",
        "|---|---|---|---|---|",
    ]
    for number, row in enumerate(found["rounds"], 1):
        lines.append(f"| {number} | {row['alone']:.1f} s | {row['both']:.1f} s | {row['both'] / row['alone']:.3f} "
                     f"| {' and '.join(map(str, row['chunks']))} |")
    median = statistics.median(row["both"] / row["alone"] for row in found["rounds"])
    missed = "" if median <= TARGET else ", **missed**"
    slower = statistics.median(found["crowded"] / row["alone"] for row in found["rounds"])
    bound = statistics.median(row["both"] / (found["crowded"] / 2) for row in found["rounds"])
    return lines + [
        "",
        f"The median is **{median:.3f}** (≤ {TARGET}{missed}). Two films at once, one a core and nothing shared, take "
        f"{slower:.2f} times",
        f"as long as one alone, so that the best that sharing could reach here is {slower / 2:.3f}. The two workers take **{bound:.2f} times** that.",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--forebay", type=pathlib.Path)
    parser.add_argument("--film", type=pathlib.Path)
    args = parser.parse_args()
    print("\n".join(text(measure_all(args.quick, args.seconds, args.film, args.forebay))))


if __name__ == "__main__":
    main()
