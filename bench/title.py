"""What a quality by the number does to films that differ: bits, quality and cost beside the constant quality of the rungs.

Every clip is encoded as it comes and with `--quality vmaf=93`, by the same ffmpeg, which must have libvmaf.
Each rendition is scored by itself, at its own size, against the whole source.
"""

import material
import measure
from encode import HEIGHTS, forebay_files, joined
from measure import FOREBAY, WORK, fresh, run

WANTED = 93
WAYS = {"as it comes": [], f"vmaf={WANTED}": ["--quality", f"vmaf={WANTED}"]}


def encode(source, name, options, ffmpeg):
    folder = fresh(WORK / f"title-{source.stem}-{name.replace(' ', '-')}")
    # A config file, so that the program is no argument.
    (folder / "forebay.toml").write_text(f'[tools]\nffmpeg = "{ffmpeg}"\n')
    done = run(FOREBAY, "hls", source.resolve(), "--to", folder / "site", "--state", folder / "state", "--no-copy",
               "--quiet", *options, cwd=folder)
    seconds = measure.duration(source)
    found = {}
    for height in HEIGHTS:
        whole = joined(forebay_files(folder, height), folder, height)
        found[height] = {
            "kbps": measure.video_bits([whole]) / seconds / 1000,
            "quality": measure.score(whole, source, 1, height),
        }
        whole.unlink()
    print(f"title: {source.stem} {name}: CPU {done.cpu:.1f} s, " + ", ".join(
        f"{height}p {one['kbps']:.0f} kb/s {one['quality']:.2f}" for height, one in found.items()), flush=True)
    return {"cpu": done.cpu, "wall": done.wall, "found": found}


def measure_all(quick):
    """The ways of each clip; a reason instead where it cannot be measured."""
    ffmpeg = measure.quality_ffmpeg()
    if not ffmpeg:
        return {"why": "it takes an ffmpeg with libvmaf"}
    clips = [material.phone(12)] if quick else [material.phone(12), material.animation(12), material.screen(12)]
    rows = {clip.stem: {name: encode(clip, name, options, ffmpeg) for name, options in WAYS.items()} for clip in clips}
    return {"rows": rows}


def text(found):
    """The section."""
    lines = ["## A quality by the number", ""]
    if "why" in found:
        return lines + [f"Not measured: {found['why']}."]
    lines += [
        f"Films of 12 s in 1080p, encoded as they come and with `--quality vmaf={WANTED}`, by the same ffmpeg. VMAF is of each",
        "rendition at its own size, all frames. The caps of the rungs hold in both.",
        "",
        "| film | way | CPU s | wall s | 1080p | 720p | 360p | bits of all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for clip, ways in found["rows"].items():
        plain = sum(one["kbps"] for one in ways["as it comes"]["found"].values())
        for name, way in ways.items():
            cells = [f"{one['quality']:.2f} at {one['kbps']:.0f} kb/s" for one in way["found"].values()]
            bits = sum(one["kbps"] for one in way["found"].values()) / plain
            lines.append(f"| {clip} | {name} | {way['cpu']:.0f} | {way['wall']:.0f} | {' | '.join(cells)} | {bits:.2f} |")
    return lines
