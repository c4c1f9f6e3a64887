#!/usr/bin/env bash
# The main job on real videos: fetched over HTTP from a server on this machine,
# encoded, encrypted, published into target/demo/site, checked.
# usage: scripts/demo.sh            make the package
#        scripts/demo.sh --play     serve what was made, to watch it
set -euo pipefail
cd "$(dirname "$0")/.."

media=target/media
demo=target/demo
port="${PORT:-8600}"
site=$demo/site
keys=$demo/keys
forebay="${FOREBAY:-target/release/forebay}"
server=

stop_server() { [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; } || true; }
trap stop_server EXIT

# Starts a server and waits for its first line, which is its address.
serve() {
    local ready="$demo/address"
    : >"$ready"
    python3 scripts/serve.py "$@" >"$ready" </dev/null &
    server=$!
    for _ in $(seq 100); do
        [ -s "$ready" ] && break
        kill -0 "$server" 2>/dev/null || { echo "demo: the server did not start" >&2; exit 3; }
        sleep 0.1
    done
    address="$(head -n 1 "$ready")"
}

how_to_play() {
    local master
    for master in "$site"/*/master.m3u8; do
        echo "  ffplay $1/${master#"$site"/}"
    done
}

play() {
    [ -n "$(find "$site" -name master.m3u8 2>/dev/null)" ] || { echo "demo: nothing made yet; run make demo" >&2; exit 2; }
    serve "$site" --keys "$keys" --port "$port"
    echo "Serving $site at $address, with CORS, so that any web player can play it:"
    how_to_play "$address"
    echo "  vlc and Safari open the same addresses, and so do hls.js and Shaka Player on a page."
    echo "Ctrl-C ends it."
    wait "$server"
}

make_package() {
    scripts/media.sh "$media"
    mkdir -p "$demo"
    serve "$media"
    {
        echo "# What forebay hls -a reads: one input a line."
        for clip in "$media"/*.mp4; do echo "$address/${clip##*/}"; done
    } >"$demo/list.txt"
    echo "The list, $demo/list.txt:"
    sed 's/^/  /' "$demo/list.txt"
    echo
    local command=("$forebay" hls -a "$demo/list.txt" --to "$site" --state "$demo/state"
        --encrypt aes-128 --keys "$keys" --key-uri "http://127.0.0.1:$port/keys/{id}/{key}.key" --report "$demo/report.html")
    echo "\$ ${command[*]}"
    "${command[@]}"
    echo
    local master
    for master in "$site"/*/master.m3u8; do
        echo "\$ $forebay verify $master --keys $keys"
        "$forebay" verify "$master" --keys "$keys"
    done
    echo
    echo "Made and checked. To watch it, run make demo-play in one terminal and in another:"
    how_to_play "http://127.0.0.1:$port"
    echo "Where the time went: $demo/report.html"
}

case "${1:-}" in
    "") make_package ;;
    --play) play ;;
    *) echo "usage: scripts/demo.sh [--play]" >&2; exit 2 ;;
esac
