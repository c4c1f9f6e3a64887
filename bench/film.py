#!/usr/bin/env python3
"""How long one film takes two workers, against one: each is pinned to a core of its own.

The workers share a queue in a file and the destination, and nothing else; the film comes from a web
server. `--rounds N`, `--seconds N` of film, `--forebay PROGRAM`, `--film FILE`.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import material
import measure
from measure import WORK

# The time of two workers by that of one.
TARGET = 0.55


def settings(folder, core, share_after):
    """The environment of one worker."""
    return os.environ | {
        "FOREBAY_QUEUE__URL": f"sqlite:{folder / 'queue.db'}",
        "FOREBAY_LANES__THREADS": "1",
        "FOREBAY_WORKER__NAME": f"core-{core}",
        "FOREBAY_WORKER__SHARE_AFTER": share_after,
        "FOREBAY_WORKER__INPUTS": '["http:"]',
        "FOREBAY_WORKER__PRIVATE_HOSTS": '["*"]',
        "FOREBAY_HLS__COPY": "false",
    }


def take(program, url, cores, share_after):
    """Seconds that workers on `cores` take, and the chunks that each has made."""
    folder = WORK / "film"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--forebay", type=pathlib.Path, default=measure.FOREBAY)
    parser.add_argument("--film", type=pathlib.Path)
    args = parser.parse_args()
    if not args.forebay.exists():
        sys.exit(f"{args.forebay} is not there; run make build")
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("this takes two cores")
    WORK.mkdir(parents=True, exist_ok=True)
    film = args.film or material.mixed(args.seconds)
    ratios = []
    with measure.Server(film.parent) as address:
        url = f"{address}/{film.name}"
        for number in range(args.rounds):
            alone, _, one = take(args.forebay.absolute(), url, cores[:1], "1000h")
            both, made, two = take(args.forebay.absolute(), url, cores, "1s")
            if one != two:
                sys.exit("two workers made another package than one")
            ratios.append(both / alone)
            print(f"film, round {number + 1}: one worker {alone:.1f} s, two {both:.1f} s: {both / alone:.3f} "
                  f"(target {TARGET}); chunks by worker: {made}", flush=True)
    median = sorted(ratios)[len(ratios) // 2]
    print(f"film: {median:.3f} times as long with two workers as with one, target {TARGET}"
          f"{'' if median <= TARGET else ': MISSED'}")
    sys.exit(median > TARGET)


if __name__ == "__main__":
    main()
