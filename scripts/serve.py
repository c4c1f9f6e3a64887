#!/usr/bin/env python3
"""A small file server of 127.0.0.1 for the demo, the tests and the benchmark.

usage: serve.py FOLDER [--port N] [--keys FOLDER] [--rate BYTES_PER_SECOND]

It has byte ranges and CORS, which Python's own http.server lacks. --keys puts
another folder under /keys/. --rate is what all connections have together, as
on a thin line. The first line on stdout is the address; it serves until it is
stopped or its stdin, when that is a pipe, is closed.
"""

import argparse
import mimetypes
import os
import re
import stat
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK = 16 * 1024
KEYS = "/keys/"
KEY_BYTES = 16

mimetypes.add_type("application/vnd.apple.mpegurl", ".m3u8")
mimetypes.add_type("video/mp2t", ".ts")


class Line:
    """A line of a fixed rate that all connections share."""

    def __init__(self, rate):
        self.rate = rate
        self.lock = threading.Lock()
        self.free_at = 0.0

    def send(self, size):
        """Waits until `size` bytes have passed."""
        if not self.rate:
            return
        with self.lock:
            now = time.monotonic()
            self.free_at = max(self.free_at, now) + size / self.rate
            wait = self.free_at - now
        time.sleep(wait)


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files below the roots, whole or by one range."""

    protocol_version = "HTTP/1.1"
    # Small writes of headers must not wait for the client's acknowledgement.
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def do_OPTIONS(self):
        self.send_response(204)
        self.cors()
        self.end_headers()

    def cors(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "*")

    def locate(self):
        """The file that the request names, or None."""
        name = urllib.parse.unquote(self.path.split("?")[0])
        for prefix, root in self.server.roots:
            if name.startswith(prefix):
                path = Path(os.path.normpath(root / name[len(prefix):]))
                if not path.is_relative_to(root) or not path.is_file():
                    return None
                # The master key lies beside the keys and must never go out.
                secret = prefix == KEYS and path.stat().st_size != KEY_BYTES
                return None if secret else path
        return None

    def answer(self, with_body):
        path = self.locate()
        if path is None:
            self.send_error(404)
            return
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            start, end = 0, status[stat.ST_SIZE] - 1
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if match:
                start = int(match[1])
                end = min(end, int(match[2])) if match[2] else end
                if start > end:
                    self.send_error(416)
                    return
            self.send_response(206 if match else 200)
            self.cors()
            self.send_header("Content-Type", mimetypes.guess_type(path.name)[0] or "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Last-Modified", self.date_time_string(status.st_mtime))
            self.send_header("ETag", f'"{status.st_size:x}-{status.st_mtime_ns:x}"')
            if match:
                self.send_header("Content-Range", f"bytes {start}-{end}/{status.st_size}")
            self.send_header("Content-Length", str(end - start + 1))
            self.end_headers()
            if with_body:
                file.seek(start)
                self.copy(file, end - start + 1)

    def copy(self, file, left):
        while left > 0 and (block := file.read(min(BLOCK, left))):
            self.server.line.send(len(block))
            self.wfile.write(block)
            left -= len(block)

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass  # The client went away, as clients may.

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, folder, keys=None, rate=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.roots = [("/", folder.resolve())]
        if keys:
            self.roots.insert(0, (KEYS, keys.resolve()))
        self.line = Line(rate)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--keys", type=Path)
    parser.add_argument("--rate", type=float, default=0, help="0 is unlimited")
    args = parser.parse_args()
    server = Server(args.port, args.folder, args.keys, args.rate)
    print(server.address, flush=True)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
