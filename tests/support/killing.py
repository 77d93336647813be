"""The processes of a running server, ways to end and to hold them, and how tests wait."""

import contextlib
import http.client
import os
import signal
import time
from pathlib import Path

TCP_LISTEN = "0A"  # in /proc/net/tcp
WAYS = {"kill": signal.SIGKILL, "abort": signal.SIGABRT, "stop": signal.SIGSTOP}


def children(pid):
    """Of all its threads, which may end meanwhile: an engine is the child of the thread that watches it."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def command_of(pid):
    """Empty of a process that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def is_there(pid):
    """Not one that has ended and only waits to be asked how."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def engines_of(front_pid):
    return [pid for pid in children(front_pid) if b"engine" in command_of(pid)[:3]]


def engine_of(front_pid):
    """The id of the engine process that this front runs now, or None."""
    return next(iter(engines_of(front_pid)), None)


@contextlib.contextmanager
def held(pid):
    """Computes nothing meanwhile: whatever the speed of the machine, it does not get further."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


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


def num_connections(pid):
    """Over TCP, without the sockets that listen."""
    sockets = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(path))
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in sockets for row in rows if row[3] != TCP_LISTEN)


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wait_for(condition, what, seconds=120):
    """How long it took, in seconds. Whom nobody answers is asked again."""
    begin = time.monotonic()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if condition():
                return time.monotonic() - begin
        assert time.monotonic() - begin < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
