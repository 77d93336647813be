"""gale as a service under supervisor: asking for it, looking at its processes."""

import http.client
import re
import subprocess
import time
from pathlib import Path


def service(binary, *arguments, **more):
    return subprocess.run(
        [binary, "service", *map(str, arguments)], capture_output=True, text=True, **{"timeout": 120, **more}
    )


def get(port, path="/ui/state", timeout=5):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_for(holds, seconds, what):
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        try:
            if holds():
                return time.monotonic() - begin
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def processes(folder):
    """Ids of the two programs of the service that run, by name: a front (whichever place it has) and the page."""
    for _ in range(300):
        told = subprocess.run(
            ["supervisorctl", "-c", f"{folder}/supervisord.conf", "status"], capture_output=True, text=True
        ).stdout
        found = {
            line.split()[0].replace("gale-2", "gale"): int(re.search(r"pid (\d+)", line)[1])
            for line in told.splitlines()
            if "RUNNING" in line
        }
        if len(found) == 2:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not running:\n{told}")


def children(pid):
    """Of all its threads: an engine is the child of the thread that watches it."""
    return [int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]


def is_there(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
