"""The engine of a running server, and ways to end it."""

import contextlib
import os
import signal
import time
from pathlib import Path

WAYS = {"kill": signal.SIGKILL, "abort": signal.SIGABRT, "stop": signal.SIGSTOP}


def engine_of(front_pid):
    """The id of the engine process that this front runs now, or None."""
    children = []
    for path in Path(f"/proc/{front_pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += path.read_text().split()
    for pid in children:
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if b"engine" in command[:3] and state not in "ZX":
                return int(pid)
    return None


def strike(pid, way):
    """False if it was gone already."""
    try:
        os.kill(pid, WAYS[way])
    except ProcessLookupError:
        return False
    return True


def num_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def num_threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wait_for(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
