#!/usr/bin/env python3
"""What a minute of source costs, at which quality and how many bits, beside others.

Every round runs all contestants one after another on the same local file, and
ratios are taken inside a round, since a shared machine drifts. Quality and bits
are scored once: they do not depend on the machine.
"""

import statistics
import sys
from pathlib import Path

import material
import measure
from measure import FOREBAY, ROOT, VENV, WORK, fresh, run

HEIGHTS = (1080, 720, 360)

SHAKA_INPUT = """\
inputs:
  - {{name: {source}, media_type: video}}
  - {{name: {source}, media_type: audio}}
"""
SHAKA_PIPELINE = """\
streaming_mode: vod
resolutions: [360p, 720p, 1080p]
video_codecs: [h264]
audio_codecs: [aac]
channel_layouts: [stereo]
manifest_format: [hls]
hls_output: master.m3u8
segment_size: 6
segment_per_file: true
"""
# The article's ladder, so that all aim at the same bits.
SHAKA_RATES = """\
video_resolutions:
  360p: {max_width: 640, max_height: 360, bitrates: {h264: 360k}}
  720p: {max_width: 1280, max_height: 720, bitrates: {h264: 870k}}
  1080p: {max_width: 1920, max_height: 1080, bitrates: {h264: 2100k}}
audio_channel_layouts:
  stereo: {max_channels: 2, bitrates: {aac: 128k}}
"""


def article(source, folder):
    """The article's encode alone: its producer skips the download of what is there already."""
    downloads = folder / "downloads"
    downloads.mkdir()
    (downloads / "clip.mp4").symlink_to(source)
    (folder / "list.txt").write_text("http://127.0.0.1/clip.mp4\n")
    return run(sys.executable, ROOT / "bench/article.py", folder / "list.txt",
               "--download-dir", downloads, "--bucket-dir", folder / "bucket")


def article_files(folder, height):
    return sorted((folder / "bucket/clip").glob(f"{height}_*.ts"))


def shaka(source, folder):
    for name, text in (("input", SHAKA_INPUT.format(source=source)), ("pipeline", SHAKA_PIPELINE), ("rates", SHAKA_RATES)):
        (folder / f"{name}.yaml").write_text(text)
    return run(VENV / "python3", VENV / "shaka-streamer", "-i", "input.yaml", "-p", "pipeline.yaml",
               "-b", "rates.yaml", "-o", "out", cwd=folder)


def shaka_files(folder, height):
    def number(path):
        return int(path.stem.rsplit("_", 1)[1])
    first, *_ = (folder / "out").glob(f"video_{height}p_*_init.mp4")
    parts = [path for path in (folder / "out").glob(f"video_{height}p_*.mp4") if path != first]
    return [first, *sorted(parts, key=number)]


def forebay(profile):
    def encode(source, folder):
        return run(FOREBAY, "hls", source, "--to", folder / "site", "--state", folder / "state",
                   "--profile", profile, "--quiet")
    return encode


def forebay_files(folder, height):
    return sorted((folder / "site").glob(f"*/*/{height}p/*.ts"))


CONTESTANTS = {
    "balanced": (forebay("balanced"), forebay_files),
    "small": (forebay("small"), forebay_files),
    "article": (article, article_files),
    "shaka": (shaka, shaka_files),
}


def joined(files, folder, height):
    """One file of all segments: MPEG-TS and fragmented MP4 may be strung together."""
    whole = folder / f"whole-{height}{files[0].suffix}"
    with whole.open("wb") as out:
        for file in files:
            out.write(file.read_bytes())
    return whole


def judge(source, folder, files_of, sample):
    """Kilobits a second and quality of each rendition."""
    seconds = measure.duration(source)
    found = {}
    for height in HEIGHTS:
        whole = joined(files_of(folder, height), folder, height)
        found[height] = {
            "kbps": measure.video_bits([whole]) / seconds / 1000,
            "quality": measure.score(whole, source, sample),
        }
    return found


def time_clip(source, rounds):
    """Times of every round. What the last one made stays, to be judged."""
    runs = {name: [] for name in CONTESTANTS}
    for number in range(rounds):
        for name, (encode, files_of) in CONTESTANTS.items():
            folder = fresh(made(source, name))
            done = encode(Path(source).resolve(), folder)
            runs[name].append(done)
            print(f"encode: {source.stem} round {number + 1} {name}: CPU {done.cpu:.1f} s, wall {done.wall:.1f} s", flush=True)
    return {"clip": source.stem, "seconds": measure.duration(source), "runs": runs}


def judge_clip(source, sample):
    """The verdict on each contestant's renditions."""
    verdicts = {}
    for name, (_, files_of) in CONTESTANTS.items():
        verdicts[name] = judge(source, made(source, name), files_of, sample)
        print(f"encode: {source.stem} {name}: " + ", ".join(
            f"{height}p {found['kbps']:.0f} kb/s {found['quality']:.2f}" for height, found in verdicts[name].items()), flush=True)
    return verdicts


def made(source, name):
    """Where a contestant's output of a clip lies."""
    return WORK / f"encode-{source.stem}-{name}"


WAYS = {"copied": [], "encoded": ["--no-copy"]}


def time_copying(rounds):
    """What it saves to cut a rendition from the source's packets."""
    source = material.conforming(24)
    runs = {name: [] for name in WAYS}
    for number in range(rounds):
        for name, options in WAYS.items():
            folder = fresh(made(source, name))
            done = run(FOREBAY, "hls", source.resolve(), "--to", folder / "site", "--state", folder / "state",
                       "--quiet", *options)
            runs[name].append(done)
            print(f"copying: {source.stem} round {number + 1} {name}: CPU {done.cpu:.1f} s, wall {done.wall:.1f} s", flush=True)
    pairs = list(zip(runs["copied"], runs["encoded"]))
    return {
        "clip": source.stem, "seconds": measure.duration(source), "runs": runs,
        "cpu": statistics.median(a.cpu / b.cpu for a, b in pairs),
        "wall": statistics.median(a.wall / b.wall for a, b in pairs),
    }


def judge_copying(sample):
    """What copying keeps."""
    source = material.conforming(24)
    return {name: judge(source, made(source, name), forebay_files, sample) for name in WAYS}


def ratios(clip, ours, theirs):
    """Ours by theirs: CPU and wall as the median over rounds, all bits, and quality less theirs by rendition."""
    pairs = list(zip(clip["runs"][ours], clip["runs"][theirs]))
    our, their = clip["verdicts"][ours], clip["verdicts"][theirs]
    return {
        "cpu": statistics.median(a.cpu / b.cpu for a, b in pairs),
        "wall": statistics.median(a.wall / b.wall for a, b in pairs),
        "bits": sum(found["kbps"] for found in our.values()) / sum(found["kbps"] for found in their.values()),
        "quality": {height: our[height]["quality"] - their[height]["quality"] for height in HEIGHTS},
    }


def clips(quick):
    """The clips that all contestants encode."""
    return [material.phone(12)] if quick else [material.phone(12), material.mixed(24)]
