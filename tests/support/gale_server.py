"""Starts the real program on a free loopback port, waits until it is ready, stops it."""

import collections
import http.client
import json
import random
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from stream_rules import check_answer

ROOT = Path(__file__).resolve().parents[2]
NANO_FLASH = ROOT / "models" / "nano-flash"
START_TIMEOUT_S = 300    # sanitizer builds load slowly


FIRST_OF_CONNECTIONS = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
REFUSED_BY_BROWSERS = 10_080   # the only one of their "unsafe" ports from 10,000 on
given_ports = collections.deque(maxlen=1000)   # the next call may come before the first port is used


def free_port():
    """Below the ports that the kernel gives to connections and to whoever asks for any: none of those takes it before
    its server does, or while that is started again, and nobody who asks it meanwhile is connected to himself."""
    dice = random.SystemRandom()
    while True:
        port = dice.choice(range(10_000, FIRST_OF_CONNECTIONS) or range(10_000, 65_536))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in given_ports and port != REFUSED_BY_BROWSERS:
            given_ports.append(port)
            return port


def ask(port, method, path, data, headers, timeout):
    """One request on its own connection; the response has .status, .headers, .body (bytes), .json_body()."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    response.body = response.read()
    response.json_body = lambda: json.loads(response.body)
    connection.close()
    return response


class GaleServer:
    """A running `gale serve`; use as a context manager. Unless a test says otherwise an engine may be silent for long:
    a busy machine is no dead engine."""

    def __init__(self, binary, *flags, model=NANO_FLASH, environment=None, port=None, is_patient=True):
        self.port = port or free_port()
        if is_patient and "--engine-beat-timeout" not in flags:
            flags = (*flags, "--engine-beat-timeout", 60)
        self.log = tempfile.NamedTemporaryFile("w+", prefix="gale-test-", suffix=".log")
        command = [str(binary), "serve", str(model), "--host", "127.0.0.1", "--port", str(self.port), *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)

    def __enter__(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"gale left with {self.process.returncode}:\n{self.log_text()}")
            try:
                if self.get("/ready").status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"gale was not ready after {START_TIMEOUT_S} s:\n{self.log_text()}")

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM, then a second one; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(120)
        return self.process.returncode

    def log_text(self):
        return Path(self.log.name).read_text(errors="replace")

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None, headers=None, timeout=120):
        """As ask(), of JSON or bytes; a stream has been checked."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        all_headers = {"Content-Type": "application/json"} if body is not None else {}
        response = ask(self.port, method, path, data, {**all_headers, **(headers or {})}, timeout)
        check_answer(path, body, headers, response.status, response.getheader("Content-Type"), response.body)
        return response

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body, **kwargs):
        return self.request("POST", path, body, **kwargs)

    def engine_pids(self):
        """The engine processes that this server started."""
        listing = subprocess.run(["ps", "-o", "pid=,stat=,args=", "--ppid", str(self.process.pid)], capture_output=True,
                                 text=True)
        rows = [line.split() for line in listing.stdout.splitlines()]
        return [int(row[0]) for row in rows if "Z" not in row[1] and "engine" in row[2:]]
