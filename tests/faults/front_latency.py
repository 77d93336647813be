"""How late the front is: from the engine's message of a step to each event, seen from outside by perf.

100 streams of 50 tokens a second by `gale bench` on the scripted engine. The kernel notes when the engine sends what a
step made, when the front sends an event of it and when the client has it. The first of these times is what channel and
front add; the second holds loopback and the client's waking up, too, which share the cores. With --nice-client the
client gives way to the front, as one on another machine does. Needs root and perf (Debian: linux-perf).

.venv/bin/python tests/faults/front_latency.py --gale-binary build/bin/gale
"""

import argparse
import bisect
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "faults")]

from front_load import bench, server_of  # noqa: E402
from killing import engine_of  # noqa: E402

STREAMS, STEP_MS, TOKENS = 100, 20, 1000
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


def lateness(calls, front, engine):
    """Seconds from a step's message until the front sent each event of it, until the client had each; the steps."""
    sent = [(time, length) for pid, time, call, length in calls if pid == engine and call == "sendto"]
    whole = max(length for _, length in sent) / 2  # not the beats, nor steps of the first and last streams
    steps = [time for time, length in sent if length > whole]
    out = {"the front sent it": [], "the client had it": []}
    for pid, time, call, length in calls:
        is_client = pid not in (front, engine) and call == "recvfrom" and 0 < length < 1 << 31
        is_front = pid == front and call == "sendto"
        if (is_client or is_front) and steps[0] < time < steps[-1]:
            moment = "the client had it" if is_client else "the front sent it"
            out[moment].append(time - steps[bisect.bisect(steps, time) - 1])
    return {moment: sorted(late) for moment, late in out.items()}, len(steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gale-binary", required=True, type=Path)
    parser.add_argument("--nice-client", action="store_true")
    arguments = parser.parse_args()
    binary = arguments.gale_binary.resolve()
    with tempfile.TemporaryDirectory() as folder, server_of(binary, folder, STEP_MS) as server:
        front, engine = server.process.pid, engine_of(server.process.pid)
        path = str(Path(folder) / "perf.data")
        command = ["perf", "record", "-a", "-o", path] + [part for event in EVENTS for part in ("-e", event)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
            said = bench(binary, server, STREAMS, TOKENS, folder, niceness=19 * arguments.nice_client)
            recorder.terminate()
        late, num_steps = lateness(list(noted(path)), front, engine)
    print(f"{STREAMS} streams, {num_steps} steps of {STEP_MS} ms, {said['failed']} failed; milliseconds until")
    for moment, times in late.items():
        shares = {"median": 0.5, "P90": 0.9, "P99": 0.99, "P99.9": 0.999}
        told = ", ".join(f"{name} {1e3 * times[int(share * len(times))]:.2f}" for name, share in shares.items())
        print(f"{moment}: {told} ({len(times)} events)")


if __name__ == "__main__":
    main()
