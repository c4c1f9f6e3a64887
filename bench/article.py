#!/usr/bin/env python3
"""The pipeline to beat: the producer and consumer that asked the question in 2018.

usage: article.py LIST [--download-dir D] [--bucket-dir B]

A port to today's Python of "How to take advantage of AsyncIO to solve an IO
Bound / CPU Bound problem?" and nothing more: one download at a time by yt-dlp,
one video at a time through three ffmpeg runs with x264's defaults. What a run
of the original needed to work at all: square sizes became 16:9 ones, mpeg_ts
became mpegts, and pipes are drained.
"""

import argparse
import asyncio
import os
import sys
import urllib.parse
from pathlib import Path

SEGMENT_LENGTH = 6
RUNGS = ((360, "640:360", 360), (720, "1280:720", 870), (1080, "1920:1080", 2100))


async def call(*command):
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise OSError(f"{command[0]} failed: {errors.decode(errors='replace')[-500:]}")


def video_id(url):
    return Path(urllib.parse.urlsplit(url).path).stem


async def download(url, args):
    await call(args.yt_dlp, url, "--no-part", "-c", "-o", f"{args.download_dir}/%(id)s.mp4")


async def encode(name, args):
    folder = args.bucket_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    master = "#EXTM3U\n"
    for height, size, rate in RUNGS:
        await call(
            args.ffmpeg, "-i", args.download_dir / f"{name}.mp4", "-y",
            "-vcodec", "libx264", "-acodec", "aac", "-flags", "-global_header",
            "-f", "segment", "-segment_list", folder / f"{height}.m3u8",
            "-segment_time", SEGMENT_LENGTH, "-segment_format", "mpegts",
            "-vf", f"scale={size}", "-b:v", f"{rate}k",
            folder / f"{height}_%05d.ts",
        )
        master += f"#EXT-X-STREAM-INF:BANDWIDTH={rate}000,RESOLUTION={size.replace(':', 'x')}\n{height}.m3u8\n"
    (folder / "master.m3u8").write_text(master)


async def produce(urls, queue, args):
    for url in urls:
        name = video_id(url)
        downloaded = args.download_dir / f"{name}.mp4"
        if not (args.bucket_dir / name).is_dir() and not downloaded.exists():
            await download(url, args)
        await queue.put(name)
    await queue.put(None)


async def consume(queue, args):
    while (name := await queue.get()) is not None:
        await encode(name, args)


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("list", type=Path)
    parser.add_argument("--download-dir", type=Path, default="downloads")
    parser.add_argument("--bucket-dir", type=Path, default="cdn-bucket")
    parser.add_argument("--yt-dlp", default=os.environ.get("YT_DLP", "yt-dlp"))
    parser.add_argument("--ffmpeg", default="ffmpeg")
    args = parser.parse_args()
    args.download_dir.mkdir(parents=True, exist_ok=True)
    urls = [line.strip() for line in args.list.read_text().splitlines() if line.strip()]
    queue = asyncio.Queue()
    await asyncio.gather(produce(urls, queue, args), consume(queue, args))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except OSError as error:
        sys.exit(str(error))
