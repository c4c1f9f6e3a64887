#!/usr/bin/env bash
# Makes a plain and an encrypted package of real footage and plays each in
# headless Chromium: every level, picture and sound, keys asked for.
set -euo pipefail
cd "$(dirname "$0")/.."
forebay="${FOREBAY:-target/debug/forebay}"
[ -n "${FOREBAY:-}" ] || cargo build --quiet --locked --features faults

scripts/media.sh target/media
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# Two laps of the screen recording: long enough for every level to have its turn.
ffmpeg -v error -stream_loop 1 -i target/media/movie-hello.mp4 -c copy "$work/source.mp4"

passed=0 failed=0
play() {
    local name="$1"; shift
    local master seen
    master="$(cd "$work/$name" && ls -- */master.m3u8)"
    if seen="$(node tests/browser/play.mjs "$work/$name" --master "$master" "$@")"; then
        echo "browser: $name plays"
        passed=$((passed + 1))
    else
        echo "browser: $name does not play: $seen"
        failed=$((failed + 1))
    fi
}

"$forebay" hls "$work/source.mp4" --to "$work/plain" --state "$work/state-plain" --quiet
play plain
"$forebay" hls "$work/source.mp4" --to "$work/encrypted" --state "$work/state-encrypted" --quiet \
    --encrypt aes-128 --keys "$work/keys" --key-uri '/keys/{id}/{key}.key'
play encrypted --keys "$work/keys" --encrypted

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
