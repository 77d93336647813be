"""How late the front is: from the engine's message of a step to each event, seen from outside by perf.

100 streams of 50 tokens a second on the scripted engine. The kernel notes when the engine sends what a step made, when
the front sends an event of it and when the client has it. The first of these times is what channel and front add; the
second holds loopback and the client's waking up, too, which share the cores. The client is one thread that only
receives; with --bench-client it is `gale bench`: a hundred threads, each woken by its event, that take the cores from
the front in the middle of a step. Needs root and perf (Debian: linux-perf).

.venv/bin/python tests/faults/front_latency.py --gale-binary build/bin/gale [--against other/bin/gale]

With --against both programs run in turn, and medians over the runs are told.
"""

import argparse
import bisect
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "faults")]

from front_load import bench, server_of  # noqa: E402
from killing import engine_of  # noqa: E402
from scripts import chat  # noqa: E402
from stream_client import StreamClient  # noqa: E402

STREAMS, STEP_MS, TOKENS = 100, 20, 1000
SHARES = (0.5, 0.9, 0.99, 0.999)
EVENTS = ["syscalls:sys_enter_sendto", "syscalls:sys_exit_recvfrom"]
LINE = re.compile(r"\s*(\d+)/\d+\s+([\d.]+):\s+\S*?(sendto|recvfrom):\s+(.*)")


def noted(path):
    """[(pid, seconds, call, length)] of a recording."""
    told = subprocess.run(
        ["perf", "script", "-i", path, "-F", "pid,tid,time,event,trace", "--ns"], capture_output=True, text=True
    )
    for line in told.stdout.splitlines():
        if found := LINE.match(line):
            length = re.search(r"len: (0x[0-9a-f]+)", found[4]) or re.match(r"(0x[0-9a-f]+)", found[4])
            yield int(found[1]), float(found[2]), found[3], int(length[1], 16)


def lateness(calls, front, engine, client):
    """Seconds from a step's message until the front sent each event of it, until the client had each; the steps.

    Without a client's id that is whoever else receives something.
    """
    sent = [(time, length) for pid, time, call, length in calls if pid == engine and call == "sendto"]
    whole = max(length for _, length in sent) / 2  # not the beats, nor steps of the first and last streams
    steps = [time for time, length in sent if length > whole]
    out = {"the front sent it": [], "the client had it": []}
    for pid, time, call, length in calls:
        has_received = call == "recvfrom" and 0 < length < 1 << 31
        is_client = has_received and (pid == client if client else pid not in (front, engine))
        is_front = pid == front and call == "sendto"
        if (is_client or is_front) and steps[0] < time < steps[-1]:
            moment = "the client had it" if is_client else "the front sent it"
            out[moment].append(time - steps[bisect.bisect(steps, time) - 1])
    return {moment: sorted(late) for moment, late in out.items()}, len(steps)


def receive_streams(port):
    """Has all streams answered to their ends, by this thread."""
    chooser, tails = selectors.DefaultSelector(), {}
    for _ in range(STREAMS):
        body = chat("go on", TOKENS, ignore_eos=True)
        payload = json.dumps(body).encode()
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(StreamClient(port, "/v1/chat/completions", body).head(payload) + payload)
        chooser.register(one, selectors.EVENT_READ)
        tails[one] = b""
    while chooser.get_map():
        for key, _ in chooser.select():
            piece = key.fileobj.recv(1 << 16)
            tails[key.fileobj] = (tails[key.fileobj] + piece)[-100:]
            if not piece:
                chooser.unregister(key.fileobj)
                key.fileobj.close()
    assert all(tail.endswith(b"[DONE]\n\n\r\n0\r\n\r\n") for tail in tails.values()), tails


def measure(binary, by_bench):
    """{moment: [seconds]} and the number of steps."""
    with tempfile.TemporaryDirectory() as folder, server_of(binary, folder, STEP_MS) as server:
        front, engine = server.process.pid, engine_of(server.process.pid)
        path = str(Path(folder) / "perf.data")
        command = ["perf", "record", "-a", "-o", path] + [part for event in EVENTS for part in ("-e", event)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
            if by_bench:
                assert bench(binary, server, STREAMS, TOKENS, folder)["failed"] == 0
            else:
                receive_streams(server.port)
            recorder.terminate()
        return lateness(list(noted(path)), front, engine, None if by_bench else os.getpid())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gale-binary", required=True, type=Path)
    parser.add_argument("--against", type=Path, help="another build, to run in turn with the first")
    parser.add_argument("--bench-client", action="store_true")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    binaries = [path.resolve() for path in (arguments.gale_binary, arguments.against) if path]
    told = {}  # by binary, moment and share
    for _ in range(arguments.runs):
        for binary in binaries:
            late, num_steps = measure(binary, arguments.bench_client)
            for moment, times in late.items():
                for share in SHARES:
                    told.setdefault((binary, moment, share), []).append(1e3 * times[int(share * len(times))])
    print(
        f"{STREAMS} streams, {num_steps} steps of {STEP_MS} ms, {arguments.runs} runs; milliseconds, medians of runs"
    )
    for (binary, moment, share), values in told.items():
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        print(f"{binary}: until {moment}, {100 * share:g} %: {statistics.median(values):.2f}{spread}")


if __name__ == "__main__":
    main()
