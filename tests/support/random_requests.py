"""Random requests made from /openapi.json by schemathesis: the server may not contradict what it says of itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

from gale_server import GaleServer

KEY = "secret"
CONFIG = Path(__file__).with_name("schemathesis.toml")


def random_requests(binary, folder, *, num_examples, phases, timeout):
    """How many requests were made; raises with what schemathesis says if it found a contradiction."""
    script = folder / "script.json"
    script.write_text(json.dumps({"vocab_size": 8192, "default": {"tokens": [300, 301, 302]}}))
    limit = ("--max-wrong-keys-per-minute", 0)  # wrong ones are tried, too: the more, the faster the machine is
    with GaleServer(binary, "--api-key", KEY, *limit, "--scripted", script) as server:
        run = subprocess.run(
            command(server.base_url + "/openapi.json", num_examples, phases),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=folder,
            check=False,
        )
        assert server.process.poll() is None, server.log_text()
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-2000:]
    return int(re.search(r"(\d+) generated", run.stdout)[1])


def command(url, num_examples, phases):
    options = {
        "--max-examples": num_examples,
        "--phases": ",".join(phases),
        "--seed": 1,
        "--generation-database": "none",
        "--request-timeout": 300,
        "--header": f"Authorization: Bearer {KEY}",
    }
    words = [str(word) for option in options.items() for word in option]
    return [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", url, "--no-color", *words]
