"""Clips for the benchmark, cut from the real footage that scripts/media.sh fetches.

The footage is short, so longer clips play it forth and back: that has no jump,
and every lap is coded anew because the codec sees other frames before it.
"""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / "target/media"
CLIPS = ROOT / "target/bench/clips"

# Near lossless beside the renditions, at a bitrate that cameras write.
SOURCE_CODEC = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-pix_fmt", "yuv420p", "-g", "60",
                "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-movflags", "+faststart"]


def _fill(size):
    width, height = size
    return f"scale={width}:{height}:flags=lanczos:force_original_aspect_ratio=increase,crop={width}:{height}"


FULL = _fill((1920, 1080))


def phone(seconds):
    """Hand-held 1080p by a phone: sensor noise, fur, slow motion."""
    return _make(f"phone-{seconds}s", seconds, ["VID_20191220_170832.mp4"], _swing(0, seconds, 1.6, FULL, "v"))


def animation(seconds):
    """An animated film, scaled up."""
    return _make(f"animation-{seconds}s", seconds, ["bigbuckbunny.mp4"], _swing(0, seconds, 5.2, FULL, "v"))


def screen(seconds):
    """A screen recording, scaled up."""
    return _make(f"screen-{seconds}s", seconds, ["movie-hello.mp4"], _swing(0, seconds, 8.3, FULL, "v"))


def mixed(seconds, size=(1920, 1080)):
    """Cuts between animation, a screen recording, film and a phone, all of one size."""
    part, fill = seconds / 4, _fill(size)
    filters = ";".join([
        _swing(0, part, 5.2, fill, "a"),
        _swing(1, part, 8.3, fill, "b"),
        _swing(2, part, 9.9, fill, "c"),
        _swing(3, part, 1.6, f"crop=1280:720,{fill}", "d"),
        "[a][b][c][d]concat=n=4:v=1[v]",
    ])
    names = ["bigbuckbunny.mp4", "movie-hello.mp4", "bikes.mp4", "VID_20191220_170832.mp4"]
    name = f"mixed-{seconds}s" if size == (1920, 1080) else f"mixed-{seconds}s-{size[1]}p"
    return _make(name, seconds, names, filters)


def conforming(seconds):
    """What a website serves: 1080p that could be a rendition as it is, with a key frame every two seconds."""
    codec = ["-c:v", "libx264", "-preset", "medium", "-b:v", "2200k", "-maxrate", "3300k", "-bufsize", "6600k",
             "-pix_fmt", "yuv420p", "-g", "60", "-c:a", "copy", "-movflags", "+faststart"]
    clip = CLIPS / f"website-{seconds}s.mp4"
    if not clip.exists():
        half_made = clip.with_suffix(".part.mp4")
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", mixed(seconds), *codec, half_made],
                       check=True, stdin=subprocess.DEVNULL)
        half_made.rename(clip)
    return clip


def variety(count):
    """`count` clips of 6 to 13 s, 720p and 1080p, that differ in content and so in what they cost."""
    names = ["VID_20191220_170832.mp4", "bigbuckbunny.mp4", "movie-hello.mp4"]
    lengths = [1.6, 5.2, 8.3]
    clips = []
    for number in range(count):
        which = number % len(names)
        seconds = 6 + number * 5 % 8
        height = 1080 if which == 0 else 720
        # Another part of the picture each time, so that no two clips are alike.
        crop = f"crop=iw*0.8:ih*0.8:iw*0.2*{number % 5}/5:ih*0.2*{number % 4}/4"
        filters = _swing(0, seconds, lengths[which], f"{crop},scale=-2:{height}:flags=lanczos", "v")
        clips.append(_make(f"clip-{number:02}-{seconds}s", seconds, [names[which]], filters))
    return clips


def _swing(source, seconds, lap, look, label):
    """A filter that plays `source` forth and back until `seconds` are full."""
    laps = int(seconds // (2 * lap)) + 1
    frames = int(2 * lap * 30) + 2
    return (f"[{source}:v]trim=duration={min(lap, seconds)},{look},setsar=1,fps=30,split[f{source}][s{source}];"
            f"[s{source}]reverse[r{source}];"
            f"[f{source}][r{source}]concat=n=2:v=1,loop=loop={laps}:size={frames},trim=duration={seconds},"
            f"setpts=N/30/TB[{label}]")


def _make(name, seconds, names, filters):
    clip = CLIPS / f"{name}.mp4"
    if clip.exists():
        return clip
    CLIPS.mkdir(parents=True, exist_ok=True)
    inputs = [part for source in names for part in ("-i", MEDIA / source)]
    sound = len(names)
    half_made = clip.with_suffix(".part.mp4")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *inputs, "-stream_loop", "-1", "-i", MEDIA / "movie-hello.mp4",
         "-filter_complex", filters, "-map", "[v]", "-map", f"{sound}:a", "-t", str(seconds),
         *SOURCE_CODEC, half_made],
        check=True, stdin=subprocess.DEVNULL)
    half_made.rename(clip)
    return clip
