#!/usr/bin/env python3
"""The engine killed again and again, then stopped, while many streams run on a card: nobody may notice but by a pause.

    python3 tools/gpu/kills.py --gale PATH --model 9b --precision fp8 [--users 64] [--kills 10] [--requests 288]
        [--ledger perf/ledger.jsonl --commit HASH]

`gale bench serve` keeps `--users` streams going meanwhile. After each kill -9 the script waits until /ready says so
again and for a while more; at last SIGSTOP, which the front has to find out by itself. Ends with 1 if a request fails,
if memory in use afterwards differs by more than 0.3 GiB, or if it takes more than 5 s to be ready after a kill.
--ledger appends the median of these times."""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

from served_model import HERE, ServedModel, bench_command, device_name
from served_model import ledger_entry, load_arguments, memory_used_mib

sys.path.insert(0, str(HERE.parents[1] / "tests/support"))
from killing import engine_of, wait_for  # noqa: E402

PAUSE_S = 1.5  # between being ready and the next kill
MOST_S = 5
STOP_PATIENCE_S = 30
TOLERANCE_MIB = 0.3 * 1024


def strike(server, sent):
    """Seconds until another engine serves, or None."""
    engine = engine_of(server.process.pid)
    os.kill(engine, sent)

    def has_another():
        return engine_of(server.process.pid) not in (None, engine) and server.is_ready()

    try:
        return wait_for(has_another, "another engine", STOP_PATIENCE_S)
    except AssertionError:
        return None


def main():
    arguments = load_arguments(1500)
    arguments.add_argument("--kills", type=int, default=10)
    arguments.add_argument("--requests", type=int, default=288)
    arguments.add_argument("--ledger", type=pathlib.Path)
    arguments.add_argument("--commit", default="")
    options = arguments.parse_args()
    users, problems = max(options.users), []
    print(f"{device_name()}, {options.model} {options.precision}, {users} streams")
    flags = f"--device cuda {options.flags}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:
        before = memory_used_mib()
        command = bench_command(options.gale, users, options.requests, options.input, options.output)
        bench = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(2 * PAUSE_S)
        times = []
        for _ in range(options.kills):
            times.append(strike(server, signal.SIGKILL))
            time.sleep(PAUSE_S)
        stopped = strike(server, signal.SIGSTOP)
        is_loaded = bench.poll() is None
        report = bench.communicate(timeout=300)[0]
        shown = [line.strip() for line in report.splitlines() if "requests" in line or "Failed" in line]
        served = sum(int(line.split()[-1]) for line in shown if line.startswith("Successful requests"))
        after, restarts = memory_used_mib(), server.metric("engine_restarts")
        print("ready again after " + ", ".join("never" if t is None else f"{t:.2f}" for t in times) + " s")
        print(f"stopped: another engine serves after {'never' if stopped is None else f'{stopped:.2f} s'}")
        print(f"{served} of {options.requests} requests whole, {restarts:.0f} restarts; {'; '.join(shown)}")
        print(f"memory {before} MiB before, {after} after")
        if served != options.requests:
            problems.append("requests failed")
        if any(t is None or t > MOST_S for t in times) or stopped is None:
            problems.append("not ready in time")
        if abs(after - before) > TOLERANCE_MIB:
            problems.append("memory moved")
        if not is_loaded:
            problems.append("the streams were over before the last strike: give --requests more")
    print("good" if not problems else f"BAD: {', '.join(problems)}")
    if options.ledger and not problems:
        line = ledger_entry(options, users) | {
            "metric": "restart_s",
            "value": round(statistics.median(times), 3),
            "command": f"tools/gpu/kills.py: {options.kills} kills -9, the median until ready",
        }
        with options.ledger.open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(line) + "\n")
    sys.exit(1 if problems else 0)


main()
