#!/usr/bin/env python3
"""Builds the image of config/deploy/Dockerfile without a container engine, and runs it.

usage: sudo scripts/image.py [--program FILE] [--keep]

Each stage is done as Docker would do it: the page is built from a copy of the context that `.dockerignore` leaves,
the program by this machine's cargo from the same copy (or FILE is taken, which saves ten minutes), and the last
stage, with every RUN, COPY, ENV and USER, in a chroot that debootstrap makes. Then a token is added and the
container's own command is started on its port 8080, asked by the health check of compose.yaml, and ended by
SIGTERM. Needs root, debootstrap, and packages from Debian and PyPI over the network.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "config/deploy"


def say(text):
    print(f"image: {text}", file=sys.stderr, flush=True)


def stages():
    """The Dockerfile's stages, each a list of instruction and argument."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if word == "FROM":
                found.append([])
            found[-1].append((word, rest.strip()))
    return found


def context(folder):
    """A copy of what would be sent to the builder."""
    lines = [line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]

    def ignored(directory, names):
        below = pathlib.Path(directory).relative_to(ROOT)
        left_out = lambda path, pattern: fnmatch.fnmatch(path, pattern) or (
            pattern.startswith("**/") and fnmatch.fnmatch(path.rsplit("/", 1)[-1], pattern[3:]))
        return [name for name in names if any(left_out(str(below / name), pattern) for pattern in patterns)]

    shutil.copytree(ROOT, folder, ignore=ignored, symlinks=True)


def on_host(instructions, sources):
    """RUN and COPY of a stage whose image has a compiler or Node.js, in a copy of the context."""
    place = sources
    for word, rest in instructions:
        if word == "WORKDIR":
            place = sources / rest.removeprefix("/src").lstrip("/")
        elif word == "COPY" and "--from" not in rest:
            *names, _ = rest.split()
            for name in names:
                if not (sources / name).exists():
                    sys.exit(f"image: COPY {name}: not in the context")
        elif word == "RUN" and not rest.startswith("apt-get"):
            say(f"RUN {rest}")
            subprocess.run(rest, shell=True, check=True, cwd=place)


def settle(instructions, jail, program):
    """The last stage in a chroot. Gives its user, its environment and its command."""
    release = next(rest for word, rest in instructions if word == "FROM").split(":")[1].split("-")[0]
    say(f"FROM debian:{release} by debootstrap")
    mirror = "http://deb.debian.org/debian"
    subprocess.run(["debootstrap", "--variant=minbase", release, jail, mirror], check=True, stdout=subprocess.DEVNULL)
    shutil.copy("/etc/resolv.conf", jail / "etc/resolv.conf")
    # Behind a proxy with an authority of its own the machine's certificates are needed.
    outside = {name: value for name, value in os.environ.items()
               if name.lower().endswith("_proxy") or name.startswith("PIP_")}
    if os.environ.get("PIP_CERT"):
        shutil.copy(os.environ["PIP_CERT"], jail / "etc/image-authorities.pem")
        outside["PIP_CERT"] = "/etc/image-authorities.pem"
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "DEBIAN_FRONTEND": "noninteractive", **outside}
    user, command = "root", {}
    for word, rest in instructions:
        if word == "RUN":
            say(f"RUN {rest[:100]}")
            subprocess.run(["chroot", jail, "sh", "-c", rest], check=True, env=environment, stdout=subprocess.DEVNULL)
        elif word == "COPY":
            _, _, target = rest.split()
            shutil.copy(program, jail / target.lstrip("/"))
        elif word == "ENV":
            environment.update(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "USER":
            user = rest
        elif word in ("ENTRYPOINT", "CMD"):
            command[word] = json.loads(rest)
    return user, environment, command["ENTRYPOINT"], command["CMD"]


def inside(jail, user, environment, command, **more):
    quiet = {name: value for name, value in environment.items() if name != "DEBIAN_FRONTEND"}
    # In a container it is the first process; here it is told that it may reap all the same.
    quiet["TINI_SUBREAPER"] = "1"
    return subprocess.Popen(["chroot", f"--userspec={user}:{user}", jail, "env", "HOME=/var/lib/forebay", *command],
                            env=quiet, **more)


def health(text):
    """The command of compose.yaml's health check."""
    line = next(line for line in text.splitlines() if "test:" in line)
    return json.loads(line.split("test:", 1)[1])[1:]


def try_out(jail, user, environment, entry, command):
    """Adds a token, starts the container's command, waits until it is well, and ends it."""
    token = [*entry, "token", "add", "ann", "--scope", "admin", "--state", "/var/lib/forebay"]
    if inside(jail, user, environment, token, stdout=subprocess.DEVNULL).wait():
        sys.exit("image: a token could not be added")
    for tool in ("ffmpeg", "ffprobe"):
        if inside(jail, user, environment, [tool, "-version"], stdout=subprocess.DEVNULL).wait():
            sys.exit(f"image: {tool} does not run")
    if inside(jail, user, environment, [environment["FOREBAY_TOOLS__YT_DLP"], "--version"]).wait():
        sys.exit("image: yt-dlp does not run")
    server = inside(jail, user, environment, [*entry, *command])
    check = health((DEPLOY / "compose.yaml").read_text())
    begun = time.monotonic()
    while inside(jail, user, environment, check, stderr=subprocess.DEVNULL).wait():
        if server.poll() is not None or time.monotonic() - begun > 30:
            sys.exit(f"image: the server is not well after {time.monotonic() - begun:.0f} s")
        time.sleep(0.5)
    say("the health check is content")
    server.send_signal(signal.SIGTERM)
    if server.wait(timeout=40):
        sys.exit(f"image: SIGTERM ended the server with {server.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, help="a release build to take instead of building one")
    parser.add_argument("--keep", action="store_true", help="leave the chroot")
    options = parser.parse_args()
    page, program, last = stages()
    work = pathlib.Path(tempfile.mkdtemp(prefix="forebay-image-"))
    work.chmod(0o755)
    try:
        context(work / "src")
        say(f"the context has {sum(path.stat().st_size for path in (work / 'src').rglob('*') if path.is_file()) / 1e6:.0f} MB")
        on_host(page, work / "src")
        if options.program is None:
            on_host(program, work / "src")
        built = options.program or work / "src/target/release/forebay"
        settled = settle(last, work / "jail", built.resolve())
        try_out(work / "jail", *settled)
        say("built, started, well, and ended")
    finally:
        if options.keep:
            say(f"left in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
