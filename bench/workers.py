#!/usr/bin/env python3
"""Jobs a second through Forebay's queues, against Celery on the same server.

Starts a redis-server and a rabbitmq-server of its own on the loopback, installs Celery from PyPI into
a folder of its own, and prints rates, ratios and the time of a claim.
`--jobs N`, `--waiting N`, `--only redis|rabbitmq|sqlite`, `--debug` (a debug build).
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ROOT / "target" / "bench-queue"
CLAIMERS = 8
NAMES = ["redis", "rabbitmq", "sqlite"]

TASKS = """
import os
from celery import Celery
app = Celery("tasks", broker=os.environ["BROKER"])
# Jobs that are not lost with their worker, as ours are not.
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4, task_ignore_result=True,
                broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)

@app.task
def nothing(number):
    if number < 0:
        open(os.environ["DONE"], "w").close()
"""

SEND = """
import sys
from tasks import app, nothing
with app.producer_pool.acquire(block=True) as producer:
    for number in range(int(sys.argv[1])):
        nothing.apply_async((number,), producer=producer)
    nothing.apply_async((-1,), producer=producer)
"""


def free_port():
    """A port below those that the kernel gives out."""
    for port in range(21000, 32000, 7):
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue
    sys.exit("no free port")


def wait_for(port, question, answer, seconds=180):
    end = time.time() + seconds
    while time.time() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(question)
                if connection.recv(64).startswith(answer):
                    return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"nothing answers on port {port}")


def redis(folder):
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "",
         "--appendonly", "yes", "--appendfsync", "always"],
        stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(port, b"PING\r\n", b"+PONG")
    return process, f"redis://127.0.0.1:{port}/0", f"redis://127.0.0.1:{port}/1"


def rabbitmq(folder):
    port, home = free_port(), pathlib.Path(folder)
    names = ["ours", "celery"]
    (home / "definitions.json").write_text(json.dumps({
        "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
        "vhosts": [{"name": name} for name in names],
        "permissions": [{"user": "guest", "vhost": name, "configure": ".*", "write": ".*", "read": ".*"}
                        for name in names]}))
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
        f"load_definitions = {home}/definitions.json\n")
    (home / "plugins").write_text("[].")
    environment = dict(
        os.environ, HOME=folder, RABBITMQ_NODENAME=f"bench{port}@localhost", RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
        RABBITMQ_NODE_PORT=str(port), RABBITMQ_DIST_PORT=str(port + 1), ERL_EPMD_PORT=str(port + 2),
        ERL_EPMD_ADDRESS="127.0.0.1", RABBITMQ_MNESIA_BASE=f"{folder}/mnesia", RABBITMQ_LOG_BASE=f"{folder}/logs",
        RABBITMQ_CONFIG_FILE=f"{folder}/rabbitmq.conf", RABBITMQ_ENABLED_PLUGINS_FILE=f"{folder}/plugins",
        RABBITMQ_CONF_ENV_FILE="/dev/null", RABBITMQ_PID_FILE=f"{folder}/pid", LC_ALL="C.UTF-8",
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
        RABBITMQ_SERVER_START_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none")
    process = subprocess.Popen(
        ["sh", "-c", f"epmd -port {port + 2} -address 127.0.0.1 & exec /usr/lib/rabbitmq/bin/rabbitmq-server"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(port, b"XXXX0000", b"AMQP")
    return process, *(f"amqp://guest:guest@127.0.0.1:{port}/{name}" for name in names)


def ours(program, url, jobs):
    output = subprocess.run([program, url, str(jobs), str(CLAIMERS)], check=True, capture_output=True, text=True)
    return json.loads(output.stdout)


def celery_home():
    home = HOME / "celery"
    if not (home / "bin" / "celery").exists():
        print("installing Celery from PyPI", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", "celery[redis]"], check=True)
    return home


def celery(url, jobs, folder):
    home = celery_home()
    pathlib.Path(folder, "tasks.py").write_text(TASKS)
    pathlib.Path(folder, "send.py").write_text(SEND)
    done = pathlib.Path(folder, "done")
    done.unlink(missing_ok=True)
    environment = dict(os.environ, BROKER=url, DONE=str(done), PYTHONPATH=folder)
    subprocess.run([home / "bin" / "python3", "send.py", str(jobs)], cwd=folder, env=environment, check=True)
    cores = str(len(os.sched_getaffinity(0)))
    begun = time.time()
    worker = subprocess.Popen(
        [home / "bin" / "celery", "-A", "tasks", "worker", "-c", cores, "-l", "ERROR", "--without-gossip",
         "--without-mingle", "--without-heartbeat"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    # Its start is in the time; the caller measures that by itself and takes it off.
    end = begun + 600
    while not done.exists():
        if time.time() > end or worker.poll() is not None:
            worker.kill()
            sys.exit("Celery does not end:\n" + worker.stdout.read().decode(errors="replace"))
        time.sleep(0.01)
    seconds = time.time() - begun
    worker.terminate()
    worker.wait()
    return seconds


def build(debug):
    profile = [] if debug else ["--release"]
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--example", "queue_bench", *profile], cwd=ROOT, check=True)
    return ROOT / "target" / ("debug" if debug else "release") / "examples" / "queue_bench"


def measure_queue(name, program, jobs, waiting):
    """One queue, as plain values."""
    starts = {"redis": redis, "rabbitmq": rabbitmq}
    folder, process = tempfile.mkdtemp(dir=HOME), None
    try:
        if name in starts:
            process, url, other = starts[name](folder)
        else:
            url, other = f"sqlite:{folder}/queue.db", None
        few, row = ours(program, url, jobs), {"name": name, "jobs": jobs, "waiting": waiting, "celery": None}
        row |= {"in": few["submitted-per-second"], "out": few["done-per-second"]}
        if other:
            # One task alone is Celery's start; what the rest takes longer is the work.
            start_up = celery(other, 0, folder)
            row["celery"] = jobs / (celery(other, jobs, folder) - start_up)
        print(f"queue: {row}", file=sys.stderr, flush=True)
        many = ours(program, url, waiting)
        return row | {"p50": many["claim-p50-ms"], "p99": many["claim-p99-ms"]}
    finally:
        if process:
            os.killpg(process.pid, 9)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def measure_all(quick, jobs=10_000, waiting=100_000, only=None, debug=False):
    """What the section needs, as plain values."""
    program = build(debug)
    HOME.mkdir(parents=True, exist_ok=True)
    if quick:
        jobs, waiting = jobs // 10, waiting // 50
    return [measure_queue(name, program, jobs, waiting) for name in NAMES if only in (None, name)]


def text(found):
    """The section."""
    lines = [
        "## Jobs through a queue",
        "",
        f"{found[0]['jobs']:,} jobs without work, taken by {CLAIMERS} claimers of one process, against Celery on the same server, which",
        "acknowledges late, as we do. Redis stores each change on disk (`appendfsync always`), RabbitMQ each message.",
        "",
        f"| | jobs/s in | jobs/s out | Celery out | ours / Celery | a claim with {found[0]['waiting']:,} waiting | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        theirs, ratio = "", ""
        if row["celery"]:
            times = row["out"] / row["celery"]
            theirs, ratio = f"{row['celery']:.0f}", f"{times:.2f} (≥ 2.00{'' if times >= 2 else ', **missed**'})"
        late = "" if row["p99"] <= 50 else ", **missed**"
        lines.append(f"| {row['name']} | {row['in']:.0f} | {row['out']:.0f} | {theirs} | {ratio} | {row['p50']:.1f} ms "
                     f"| {row['p99']:.1f} ms (≤ 50{late}) |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args()
    print("\n".join(text(measure_all(False, args.jobs, args.waiting, args.only, args.debug))))


if __name__ == "__main__":
    main()
