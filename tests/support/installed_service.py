"""gale as a service under supervisor: asking for it, looking at its processes."""

import http.client
import re
import subprocess
import time


def service(binary, *arguments, **more):
    return subprocess.run(
        [binary, "service", *map(str, arguments)], capture_output=True, text=True, **{"timeout": 300, **more}
    )


def get(port, path="/ui/state", timeout=60):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def states(folder):
    """What supervisor says, a line a program."""
    command = ["supervisorctl", "-c", f"{folder}/supervisord.conf", "status"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def processes(folder):
    """Ids of the two programs of the service that run, by name: a front (whichever place it has) and the page. One that
    has not lived for a second yet does not run for supervisor, which would start it ever later if it ended."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        told = states(folder)
        found = {
            line.split()[0].replace("gale-2", "gale"): int(re.search(r"pid (\d+)", line)[1])
            for line in told.splitlines()
            if "RUNNING" in line
        }
        if len(found) == 2:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not running:\n{told}")
