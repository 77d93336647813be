#!/usr/bin/env python3
"""Serves a dummy model and measures it over HTTP at several concurrencies, as perf/README.md defines the figures.

    python3 tools/gpu/sweep.py --gale PATH --model 9b|flash|46v --precision bf16|fp8 --users 1 64 128
        [--input 1024 --output 512] [--flags "..."] [--ledger perf/ledger.jsonl --commit HASH] [--layers N]

Prints a line a level; with --ledger appends one JSON line a figure. --layers cuts the model, for trying things."""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PORT = 8123


def num_prompts(users):
    return users * (2 if users >= 256 else 3 if users >= 8 else 4)


def wait_until_ready(server, deadline_s):
    begin = time.monotonic()
    while time.monotonic() - begin < deadline_s:
        if server.poll() is not None:
            return None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ready", timeout=2) as answer:
                if answer.status == 200:
                    return time.monotonic() - begin
        except OSError:
            time.sleep(0.05)
    return None


def device_name():
    out = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True,
                         check=False)
    return out.stdout.splitlines()[0].strip() if out.returncode == 0 and out.stdout else "cpu"


def memory_used_mib():
    out = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                         capture_output=True, text=True, check=False)
    return int(out.stdout.split()[0]) if out.returncode == 0 and out.stdout.strip() else 0


def measure(options, users, folder):
    result = folder / f"{users}.json"
    command = [options.gale, "bench", "serve", "--base-url", f"http://127.0.0.1:{PORT}", "--num-prompts",
               str(num_prompts(users)),
               "--num-warmups", "32" if users >= 64 else "1", "--max-concurrency", str(users), "--random-input-len",
               str(options.input),
               "--random-output-len", str(options.output), "--temperature", "1.0", "--vocab-size", "150000",
               "--save-result",
               "--result-dir", str(folder), "--result-filename", result.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=options.timeout)
    if done.returncode != 0 or not result.exists():
        print(f"users {users}: bench failed ({done.returncode})\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        return None
    return json.loads(result.read_text())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gale", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--precision", default="bf16")
    arguments.add_argument("--users", type=int, nargs="+", default=[1])
    arguments.add_argument("--input", type=int, default=1024)
    arguments.add_argument("--output", type=int, default=512)
    arguments.add_argument("--flags", default="")
    arguments.add_argument("--layers", type=int)
    arguments.add_argument("--timeout", type=int, default=300)
    arguments.add_argument("--ledger")
    arguments.add_argument("--commit", default="unknown")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([sys.executable, str(HERE / "make_dummy_models.py"), name, options.model,
                        *(["--layers", str(options.layers)] if options.layers else [])], check=True,
                       stdout=subprocess.DEVNULL)
        flags = f"--load-format dummy --gpu-memory-utilization 0.92 --max-model-len {options.input + options.output + 64} {options.flags}"
        if options.precision == "fp8":
            flags += " --quantization fp8"
        command = [options.gale, "serve", str(folder / options.model), "--host", "127.0.0.1", "--port", str(PORT),
                   *flags.split()]
        log = open(folder / "serve.log", "w+", encoding="utf-8")
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            ready_s = wait_until_ready(server, 240)
            text = (folder / "serve.log").read_text()
            if ready_s is None:
                print(f"the server did not start (exit {server.poll()}):\n{text[-3000:]}")
                return 1
            for line in text.splitlines():
                if any(word in line
                       for word in ("Weights", "KV cache", "Memory plan", "Graph", "Loading weights", "computing on")):
                    print(line)
            print(f"{options.model} {options.precision} {flags}: ready after {ready_s:.1f} s, {memory_used_mib()} MiB "
                  f"in use", flush=True)
            lines = []
            for users in options.users:
                result = measure(options, users, folder)
                if result is None:
                    continue
                figures = {"output_tok_s": result["output_throughput"], "total_tok_s": result["total_token_throughput"],
                           "tpot_mean_ms": result["mean_tpot_ms"], "ttft_mean_ms": result["mean_ttft_ms"],
                           "ttft_p99_ms": result["p99_ttft_ms"], "itl_p99_ms": result["p99_itl_ms"]}
                print(f"users {users:5d}: " + "  ".join(f"{k} {v:9.2f}" for k, v in figures.items()) +
                      f"  failed {result['failed']}  client cores "
                      f"{result['client_cpu_seconds'] / result['duration']:.2f}"
                      f"  {memory_used_mib()} MiB", flush=True)
                for metric, value in figures.items():
                    lines.append({"date": datetime.date.today().isoformat(), "commit": options.commit,
                                  "device": device_name(),
                                  "model": options.model, "precision": options.precision, "users": users,
                                  "input": options.input,
                                  "output": options.output, "metric": metric, "value": round(value, 3),
                                  "command": f"tools/gpu/sweep.py --model {options.model} --precision "
                                             f"{options.precision} "
                                             f"--users {users} --flags '{options.flags}'"})
            lines.append({"date": datetime.date.today().isoformat(), "commit": options.commit, "device": device_name(),
                          "model": options.model, "precision": options.precision, "users": 0, "metric": "start_s",
                          "value": round(ready_s, 2),
                          "command": "tools/gpu/sweep.py (random weights, made on the card)"})
            if options.ledger and not options.layers:
                with open(options.ledger, "a", encoding="utf-8") as ledger:
                    ledger.writelines(json.dumps(line) + "\n" for line in lines)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
            if os.environ.get("GALE_SHOW_LOG"):
                print((folder / "serve.log").read_text()[-3000:])
    return 0


sys.exit(main())
