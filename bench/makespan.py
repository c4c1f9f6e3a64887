#!/usr/bin/env python3
"""How near a list of videos comes to the least time that it can take.

The bound is max(T_io, T_cpu), both measured here: T_io fetches every file over
the same throttled line with nothing else to do, T_cpu runs the same list from
files on disk, before the case and after it, for a shared machine is not always
equally fast. The line's rates are set from T_cpu, so the three cases are what
their names say on any machine.
"""

import shutil
import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import material
import measure
from measure import FOREBAY, ROOT, WORK, fresh, run

# Name, T_io / T_cpu, and the most that makespan / bound may be.
CASES = [
    ("network twice as fast", 0.5, 1.05),
    ("balanced", 1.0, 1.10),
    ("network half as fast", 2.0, 1.05),
]


def write_list(folder, lines):
    path = folder / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def forebay(folder, lines):
    """One cold run: no state, nothing at the destination."""
    done = run(FOREBAY, "hls", "-a", write_list(folder, lines), "--to", folder / "site",
               "--state", folder / "state", "--json", "--quiet")
    published = len(list((folder / "site").glob("*/master.m3u8")))
    if published != len(lines):
        sys.exit(f"forebay published {published} of {len(lines)}:\n{done.output[-3000:]}")
    return done


def download_all(address, clips):
    """Seconds to fetch all clips, four at a time as Forebay does."""
    def fetch(clip):
        with urllib.request.urlopen(f"{address}/{clip.name}") as response:
            while response.read(1 << 16):
                pass

    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, clips))
    return time.monotonic() - begun


def first_encode_delay(events):
    """Seconds from the end of the first download to the start of the first encode."""
    def first(name):
        return next(event["at"] for event in events if event["event"] == name)
    return first("chunk-started") - first("downloaded")


def article(folder, lines):
    return run(sys.executable, ROOT / "bench/article.py", write_list(folder, lines),
               "--download-dir", folder / "downloads", "--bucket-dir", folder / "bucket",
               "--yt-dlp", measure.YT_DLP)


def one_case(name, ratio, target, clips, before):
    """One row, and how long the list takes from files after it."""
    size = sum(clip.stat().st_size for clip in clips)
    rate = size / (ratio * before)
    with measure.Server(material.CLIPS, rate) as address:
        t_io = download_all(address, clips)
        done = forebay(fresh(WORK / "makespan"), [f"{address}/{clip.name}" for clip in clips])
    after = forebay(fresh(WORK / "local"), clips).wall
    t_cpu = (before + after) / 2
    bound = max(t_io, t_cpu)
    row = {
        "case": name, "rate": rate, "t_io": t_io, "t_cpu": t_cpu, "makespan": done.wall, "bound": bound,
        "ratio": done.wall / bound, "target": target, "cpu": done.cpu,
        "delay": first_encode_delay(measure.events(done.output)),
    }
    return row, after


def measure_all(quick):
    """The rows of the table, and the article's pipeline on the balanced line."""
    clips = material.variety(10 if quick else 14)
    cases = [case for case in CASES if not quick or case[0] == "balanced"]
    rows = []
    local = forebay(fresh(WORK / "local"), clips).wall
    for name, ratio, target in cases:
        before = local
        row, local = one_case(name, ratio, target, clips, before)
        rows.append(row)
        print(f"makespan: {name}: {row['makespan']:.1f} s, bound {row['bound']:.1f} s "
              f"(T_io {row['t_io']:.1f}, T_cpu {before:.1f} and {local:.1f}): {row['ratio']:.3f}, target {target}", flush=True)
    balanced = next(row for row in rows if row["case"] == "balanced")
    with measure.Server(material.CLIPS, balanced["rate"]) as address:
        done = article(fresh(WORK / "article"), [f"{address}/{clip.name}" for clip in clips])
    article_row = {"wall": done.wall, "cpu": done.cpu, "times": done.wall / balanced["makespan"]}
    print(f"makespan: the article's pipeline: {done.wall:.1f} s, {article_row['times']:.2f} times as long")
    return {"clips": len(clips), "lengths": "6 to 13 s", "rows": rows, "article": article_row}


def help_time():
    """Milliseconds of `forebay --help`, the median of many."""
    return statistics.median(1000 * run(FOREBAY, "--help").wall for _ in range(25))


def memory_of_long_list():
    """Peak bytes of forebay itself for 10,000 lines that fail at once: empty files, and files a server lacks."""
    folder = fresh(WORK / "long-list")
    empty = [folder / f"empty-{number:04}.mp4" for number in range(5_000)]
    for path in empty:
        path.touch()
    with measure.Server(material.CLIPS) as address:
        lines = empty + [f"{address}/missing-{number:04}.mp4" for number in range(5_000)]
        begun = time.monotonic()
        peak, code = measure.peak_memory(FOREBAY, "hls", "-a", write_list(folder, lines), "--to", folder / "site",
                                         "--state", folder / "state", "--quiet")
    if code != 1:
        sys.exit(f"forebay exited with {code} for a list of which every line fails; 1 was expected")
    shutil.rmtree(folder)
    return {"peak": peak, "wall": time.monotonic() - begun}
