"""Starts the page's process on a free loopback port and stops it."""

import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from gale_server import ROOT, ask, free_port


class GaleUi:
    """A running `gale ui`; use as a context manager."""

    def __init__(self, binary, api_url, *flags, port=None, environment=None):
        self.port = port or free_port()
        self.log = tempfile.NamedTemporaryFile("w+", prefix="gale-ui-test-", suffix=".log")
        self.command = [str(binary), "ui", "--port", str(self.port), "--api", api_url, *map(str, flags)]
        self.environment = environment
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdout=self.log, stderr=subprocess.STDOUT, cwd=ROOT, env=self.environment
        )

    def __enter__(self):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.request("GET", "/ui/state").status == 200:
                    return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"gale ui did not start:\n{self.log_text()}")

    def __exit__(self, *_):
        self.stop()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(120)
        return self.process.returncode

    def log_text(self):
        return Path(self.log.name).read_text(errors="replace")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None, headers=None):
        """As ask(), of JSON or bytes."""
        is_json = body is not None and not isinstance(body, bytes)
        data = json.dumps(body).encode() if is_json else body
        all_headers = {"Content-Type": "application/json"} if is_json else {}
        return ask(self.port, method, path, data, {**all_headers, **(headers or {})}, 120)
