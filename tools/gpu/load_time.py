#!/usr/bin/env python3
"""How long a checkpoint of the published sizes takes from a folder to the first token.

    python3 tools/gpu/load_time.py --gale PATH --model flash [--folder /dev/shm] [--layers N] [--flags "…"] [--runs 2]
        [--fp8-checkpoint]

Writes random numbers with the names, types and shapes of the model (random_checkpoint.py), starts gale with them and
asks for one token, --runs times. --fp8-checkpoint: in the official FP8 layout, e4m3 with a scale a row. The figures of
record are in perf/."""

import pathlib
import re
import shutil
import subprocess
import sys
import time

from random_checkpoint import write_checkpoint
from served_model import HERE, ServedCheckpoint, device_name, load_arguments, memory_used_mib

SHOWN = ("Loading weights:", "GPU memory in use", "Graph capturing")


def measure(options, model, total, run):
    flags = "--device cuda " + ("--quantization fp8 " if options.precision == "fp8" else "") + options.flags
    begin = time.monotonic()
    with ServedCheckpoint(options.gale, model, flags) as server:
        server.post("/v1/completions", {"prompt": [300, 301, 302], "max_tokens": 1, "temperature": 0})
        first_token = time.monotonic() - begin
        log = server.log()
        load = float(re.search(r"Loading weights took ([\d.]+)", log)[1])
        print(
            f"run {run}: weights {load:.2f} s ({total / load / 1e9:.1f} GB/s), ready {server.ready_s:.2f} s, "
            f"first token {first_token:.2f} s, {memory_used_mib()} MiB in use",
            flush=True,
        )
        for line in log.splitlines():
            if any(part in line for part in SHOWN):
                print("   ", line[-110:])


def main():
    arguments = load_arguments(1)
    arguments.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/dev/shm"))
    arguments.add_argument("--runs", type=int, default=2)
    arguments.add_argument("--fp8-checkpoint", action="store_true")
    options = arguments.parse_args()
    folder = options.folder / "gale-load-time"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        layers = ["--layers", str(options.layers)] if options.layers else []
        make = [sys.executable, str(HERE / "make_dummy_models.py"), str(folder), options.model, *layers]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        begin = time.monotonic()
        model = folder / options.model
        total = write_checkpoint(options.gale, model, is_fp8=options.fp8_checkpoint)
        print(f"{total / 1e9:.1f} GB written to {options.folder} in {time.monotonic() - begin:.1f} s", flush=True)
        print(f"{device_name()}, {options.model} {options.precision}")
        for run in range(options.runs):
            measure(options, model, total, run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
