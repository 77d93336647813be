#!/usr/bin/env python3
"""`gale tune` for models of the published sizes into one table of this card, and what it gains:

    python3 tools/gpu/tune.py --gale PATH --folder OUT [--models 9b flash] [--precisions bf16 fp8] [--seconds 300]

Only config.json of a model is read, weights are random. OUT/tune.log has every candidate's time and share of the bound,
OUT/kernels.jsonl is the table (copy it to src/backends/cuda/tables/<card>.jsonl to commit it). Printed last: for each
product and bucket that left the heuristic, both times. Ends with 1 if a candidate computed something else, or if a
second call for the same card does not take the table."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TABLE, LOG = "kernels.jsonl", "tune.log"
PRECISIONS = {"bf16": [], "fp8": ["--quantization", "fp8"]}


def dummy_model(folder, name):
    make = [sys.executable, str(HERE / "make_dummy_models.py"), str(folder), name]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    return pathlib.Path(folder) / name


def tune(options, model, precision, seconds):
    command = [options.gale, "tune", str(model), "--device", "cuda", *PRECISIONS[precision]]
    command += ["--output", str(options.folder / TABLE), "--seconds", str(int(seconds))]
    with open(options.folder / LOG, "a", encoding="utf-8") as log:
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode


def gains(table):
    lines = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    for line in lines:
        if line["kernel"] != "heuristic":
            name = f"{line['op']} {line['weights']} [{line['n']}, {line['k']}] to {line['max_tokens']}"
            yield f"{name:48} {line['kernel']:14} {line['heuristic_us']:8.1f} -> {line['us']:8.1f} us"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--gale", required=True)
    arguments.add_argument("--folder", type=pathlib.Path, required=True)
    arguments.add_argument("--models", nargs="+", default=["9b", "flash"])
    arguments.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    arguments.add_argument("--seconds", type=float, default=300)
    options = arguments.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    end, codes = time.monotonic() + options.seconds, []
    with tempfile.TemporaryDirectory() as models:
        runs = [(name, precision) for name in options.models for precision in options.precisions]
        for number, (name, precision) in enumerate(runs):
            model = dummy_model(models, name)
            begin = time.monotonic()
            code = tune(options, model, precision, max(1, (end - begin) / (len(runs) - number)))
            print(f"{name} {precision}: {time.monotonic() - begin:.0f} s, exit code {code}", flush=True)
            codes.append(code)
        table = options.folder / TABLE
        if table.exists():
            seen = subprocess.run(
                [options.gale, "inspect", str(model), "--device", "cuda", "--kernels", "--load-format", "dummy"]
                + ["--kernel-table", str(table), *PRECISIONS[precision]],
                capture_output=True,
                text=True,
                check=False,
            )
            print(seen.stdout[seen.stdout.find("\nproduct ") :], seen.stderr)
            codes.append(seen.returncode)
            print("\n".join(gains(table)))
    return 1 if any(codes) or not codes else 0


if __name__ == "__main__":
    sys.exit(main())
