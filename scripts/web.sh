#!/usr/bin/env bash
# Builds the page of `forebay serve` into web/dist, which the program takes in
# when it is compiled. Without Node.js it says so and does nothing: the program
# then shows how to have the page. Done twice, it does nothing.
set -euo pipefail
cd "$(dirname "$0")/../web"

say() { echo "web: $*" >&2; }

# Vite 7 needs this one.
node_oldest=20

node_version() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

if [ "$(node_version || true)" = "" ] || ! command -v npm >/dev/null; then
    say "no Node.js and npm here: the page is left out (everything else works)"
    exit 0
fi
if [ "$(node_version)" -lt "$node_oldest" ]; then
    say "Node.js $(node_version) is too old to build the page (wanted: $node_oldest); it is left out"
    exit 0
fi

if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
    say "installing what the page is built with"
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
    touch node_modules/.package-lock.json
fi
newest="$(find src index.html package-lock.json vite.config.ts tsconfig.json -newer dist/index.html 2>/dev/null | head -1 || true)"
if [ -f dist/index.html ] && [ -z "$newest" ]; then
    exit 0
fi
say "building the page"
npm run --silent build >/dev/null
