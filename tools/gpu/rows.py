#!/usr/bin/env python3
"""Measures the rows of perf/rows.json, a server a model, precision and lengths, and says which are met.

    python3 tools/gpu/rows.py --gale PATH [--only flash-fp8 …] [--seconds 560] [--ledger perf/ledger.jsonl]
        [--commit HASH] [--flags "…"]

Rows of another card than this one are left out, and so are those that --seconds would cut off: what was left out is
said. A server that fails costs its own rows, and the end is then 1. --only takes MODEL-PRECISION."""

import argparse
import itertools
import pathlib
import subprocess
import sys
import tempfile
import time

from served_model import HERE, device_name

sys.path.insert(0, str(HERE.parent))
import perf_table  # noqa: E402

MIN_SECONDS = 45  # less is not enough to start a server and measure a row


def groups_of(rows, card, only):
    """Rows that one server can answer, in the order of perf/rows.json."""
    wanted = [row for row in rows if row["card"] in card and (not only or name_of(row) in only)]
    keys = ("model", "precision", "input", "output")
    return [list(group) for _, group in itertools.groupby(wanted, key=lambda row: [row[key] for key in keys])]


def name_of(row):
    return f"{row['model']}-{row['precision']}"


def flags_for(group, flags):
    """As an operator of a busy server would start it: an FP8 cache, room for all users of the row."""
    users = max(row["users"] for row in group)
    crowd = f"--max-num-seqs {users} --max-num-batched-tokens 8192 " if users > 256 else ""
    return f"--kv-cache-dtype fp8 {crowd}{flags}".strip()


def measure(options, group, ledger, seconds):
    first = group[0]
    command = [sys.executable, HERE / "sweep.py", "--gale", options.gale, "--model", first["model"]]
    command += ["--precision", first["precision"], "--input", first["input"], "--output", first["output"]]
    command += [
        "--ledger",
        ledger,
        "--commit",
        options.commit,
        f"--flags={flags_for(group, options.flags)}",
        "--users",
    ]
    command += [row["users"] for row in group]
    try:
        return subprocess.run(list(map(str, command)), check=False, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gale", required=True)
    arguments.add_argument("--only", nargs="*", default=[])
    arguments.add_argument("--seconds", type=float, default=560)
    arguments.add_argument("--ledger")
    arguments.add_argument("--commit", default="unknown")
    arguments.add_argument("--flags", default="")
    options = arguments.parse_args()
    deadline = time.monotonic() + options.seconds
    all_went_well = True
    with tempfile.TemporaryDirectory() as folder:
        figures = pathlib.Path(folder) / "ledger.jsonl"
        figures.touch()
        groups = groups_of(perf_table.read_rows(), device_name(), options.only)
        for group in groups:
            left = deadline - time.monotonic()
            label = f"{name_of(group[0])} {group[0]['input']} in, users {[row['users'] for row in group]}"
            if left < MIN_SECONDS:
                print(f"left out, no time: {label}", flush=True)
            elif not measure(options, group, figures, left):
                print(f"FAILED: {label}", flush=True)
                all_went_well = False
        text = figures.read_text(encoding="utf-8")
        if options.ledger:
            with open(options.ledger, "a", encoding="utf-8") as ledger:
                ledger.write(text)
        print(perf_table.render([row for group in groups for row in group], perf_table.parse_ledger(text)))
    return 0 if all_went_well and groups else 1


if __name__ == "__main__":
    sys.exit(main())
