"""A gale server with a model of random weights, for the scripts of this folder."""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PORT = int(os.environ.get("GPU_TOOLS_PORT", "8123"))  # for scripts beside each other, each with a card of its own
URL = f"http://127.0.0.1:{PORT}"
PROMPT_TOKENS = ("prompt_tokens", "prompt_tokens_cached")


def nvidia_smi(field):
    """Of the card that programs started from here see first."""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    out = subprocess.run(
        ["nvidia-smi", "-i", card, f"--query-gpu={field}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
    )
    return out.stdout.splitlines()[0].strip() if out.returncode == 0 and out.stdout.strip() else None


def device_name():
    return nvidia_smi("name") or "cpu"


def memory_used_mib():
    return int(nvidia_smi("memory.used") or 0)


class Watch:
    """What nvidia-smi shows of some fields ("memory.used", in its units) while this is open: a list of numbers each."""

    def __init__(self, *fields):
        self.seen, self.is_over = {field: [] for field in fields}, False

    def look(self):
        values = (nvidia_smi(",".join(self.seen)) or "").split(",")
        for field, value in zip(self.seen, values):
            try:
                self.seen[field].append(float(value))
            except ValueError:
                pass  # no card, or a field that it does not have

    def look_again_and_again(self):
        while not self.is_over:
            self.look()
            time.sleep(0.5)

    def __enter__(self):
        self.look()
        self.thread = threading.Thread(target=self.look_again_and_again)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()


def ledger_entry(options, users):
    """What every line of perf/ledger.jsonl begins with."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": options.commit,
        "device": device_name(),
        "model": options.model,
        "precision": options.precision,
        "users": users,
    }


def load_arguments(output_len):
    """What a script that serves a dummy model under load is told: which model, how many users, which lengths."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gale", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--precision", default="bf16")
    arguments.add_argument("--users", type=int, nargs="+", default=[1])
    arguments.add_argument("--input", type=int, default=1024)
    arguments.add_argument("--output", type=int, default=output_len)
    arguments.add_argument("--flags", default="")
    arguments.add_argument("--layers", type=int)
    return arguments


def bench_command(gale, users, num_prompts, input_len, output_len):
    """`gale bench serve` against this script's server, with random token ids."""
    command = [gale, "bench", "serve", "--base-url", URL, "--num-prompts", str(num_prompts)]
    command += ["--max-concurrency", str(users), "--random-input-len", str(input_len)]
    return [*command, "--random-output-len", str(output_len), "--temperature", "1.0", "--vocab-size", "150000"]


class ServedCheckpoint:
    """with ServedCheckpoint(gale, model_folder, "--max-model-len 2048") as server: …   `folder` holds serve.log."""

    def __init__(self, gale, model, flags, environment=None):
        self._keeper = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self._keeper.name)
        self.flags = f"--gpu-memory-utilization 0.92 {flags}"
        self._command = [
            *[gale, "serve", str(model), "--host", "127.0.0.1", "--port", str(PORT)],
            *self.flags.split(),
        ]
        self._environment = os.environ | (environment or {})
        self._num_benches = 0

    def __enter__(self):
        with open(self.folder / "serve.log", "w", encoding="utf-8") as log:
            begin = time.monotonic()
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment
            )
        try:
            self._wait_until_ready(begin + 240)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.monotonic() - begin
        return self

    def __exit__(self, *_):
        self.stop()
        self._keeper.cleanup()

    def _wait_until_ready(self, deadline):
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the server did not start (exit {self.process.returncode}):\n{self.log()[-3000:]}")
            if self.is_ready():
                return
            time.sleep(0.05)
        raise SystemExit(f"the server was not ready in time:\n{self.log()[-3000:]}")

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{URL}/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def log(self):
        return (self.folder / "serve.log").read_text(encoding="utf-8", errors="replace")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def metric(self, name):
        with urllib.request.urlopen(f"{URL}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        starts = (name + "{", name + " ", name + "_total{", name + "_total ")
        return sum(float(line.split()[-1]) for line in lines if line.startswith(starts))

    def bench(self, gale, users, num_prompts, num_warmups, input_len, output_len, timeout=300, flags=()):
        """The figures of `gale bench serve` with random token ids, or None after saying why there are none. Prompts
        are others each time, or the prefix cache would know them: `prompt_tokens_cached` of the figures says how many
        tokens it knew of all `prompt_tokens`, those of warm-ups included."""
        seed, self._num_benches = self._num_benches, self._num_benches + 1
        before = {name: self.metric(f"vllm:{name}") for name in PROMPT_TOKENS}
        result = self.folder / "bench.json"
        result.unlink(missing_ok=True)
        command = bench_command(gale, users, num_prompts, input_len, output_len)
        command += ["--num-warmups", str(num_warmups), "--seed", str(seed), "--save-result"]
        command += ["--result-dir", str(self.folder), "--result-filename", result.name, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
        if done.returncode != 0 or not result.exists():
            print(f"users {users}: bench failed ({done.returncode})\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
            return None
        return json.loads(result.read_text()) | {
            name: int(self.metric(f"vllm:{name}") - before[name]) for name in PROMPT_TOKENS
        }

    def post(self, path, body, timeout=300):
        request = urllib.request.Request(
            f"{URL}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read())


class ServedModel(ServedCheckpoint):
    """A model of random weights: ServedModel(gale, "9b", "fp8", flags). --layers cuts its depth."""

    def __init__(self, gale, model, precision, flags, layers=None, environment=None):
        flags = (
            ("" if "--load-format" in flags else "--load-format dummy ")
            + flags
            + (" --quantization fp8" if precision == "fp8" else "")
        )
        self._models = tempfile.TemporaryDirectory()
        make = [sys.executable, str(HERE / "make_dummy_models.py"), self._models.name, model]
        subprocess.run(make + (["--layers", str(layers)] if layers else []), check=True, stdout=subprocess.DEVNULL)
        super().__init__(gale, pathlib.Path(self._models.name) / model, flags, environment)

    def __exit__(self, *reason):
        super().__exit__(*reason)
        self._models.cleanup()
