#!/usr/bin/env python3
"""Serves a dummy model and measures it over HTTP at several concurrencies, as perf/README.md defines the figures.

    python3 tools/gpu/sweep.py --gale PATH --model 9b|flash|46v --precision bf16|fp8 --users 1 64 128
        [--input 1024 --output 512] [--range-ratio 0.5] [--flags "..."] [--layers N]
        [--ledger perf/ledger.jsonl --commit HASH]

Prints a line a level; with --ledger appends one JSON line a figure. A level whose prompts the prefix cache knew is no
figure and ends a sweep that writes. --layers cuts the model, for trying things."""

import json
import os
import sys

from served_model import ServedModel, ledger_entry, load_arguments, memory_used_mib

MAX_CACHED_SHARE = 0.01  # of prompt tokens; random prompts meet by chance only
LOG_WORDS = ("Weights", "KV cache", "Memory plan", "Graph", "Loading weights", "computing on")


def num_prompts(users):
    return users * (2 if users >= 256 else 3 if users >= 8 else 4)


def ledger_lines(options, users, figures):
    """Lines of perf/ledger.jsonl: one a figure."""
    common = ledger_entry(options, users)
    if "dummy-zipf" in options.flags:
        common |= {"routing": "zipf"}
    if not users:
        command = "tools/gpu/sweep.py (random weights, made on the card)"
    else:
        common |= {"input": options.input, "output": options.output} | (
            {"range_ratio": options.range_ratio} if options.range_ratio else {}
        )
        command = (
            f"tools/gpu/sweep.py --model {options.model} --precision {options.precision} --users {users} "
            f"--flags '{options.flags}'"
        )
    return [
        {**common, "metric": metric, "value": round(value, 3), "command": command}
        for metric, value in figures.items()
    ]


def measure(options, server, users):
    prompts = users * 8 if options.range_ratio else num_prompts(users)
    flags = ["--random-range-ratio", str(options.range_ratio)] if options.range_ratio else []
    result = server.bench(
        options.gale, users, prompts, 32 if users >= 64 else 1, options.input, options.output, options.timeout, flags
    )
    if result is None:
        return []
    figures = {
        "output_tok_s": result["output_throughput"],
        "total_tok_s": result["total_token_throughput"],
        "tpot_mean_ms": result["mean_tpot_ms"],
        "ttft_mean_ms": result["mean_ttft_ms"],
        "ttft_p99_ms": result["p99_ttft_ms"],
        "itl_p99_ms": result["p99_itl_ms"],
        "prompt_tokens_cached": result["prompt_tokens_cached"],
    }
    print(
        f"users {users:5d}: "
        + "  ".join(f"{k} {v:9.2f}" for k, v in figures.items())
        + f"  failed {result['failed']}  client cores {result['client_cpu_seconds'] / result['duration']:.2f}"
        f"  {memory_used_mib()} MiB",
        flush=True,
    )
    if options.ledger and result["prompt_tokens_cached"] > MAX_CACHED_SHARE * result["prompt_tokens"]:
        raise SystemExit(
            f"users {users}: {result['prompt_tokens_cached']} of {result['prompt_tokens']} prompt tokens came from the "
            f"prefix cache, more than {MAX_CACHED_SHARE:.0%}: nothing is written to {options.ledger}"
        )
    return ledger_lines(options, users, figures)


def write(options, lines):
    if options.ledger and not options.layers:
        with open(options.ledger, "a", encoding="utf-8") as ledger:
            ledger.writelines(json.dumps(line) + "\n" for line in lines)


def main():
    arguments = load_arguments(512)
    arguments.add_argument("--range-ratio", type=float, default=0.0)
    arguments.add_argument("--timeout", type=int, default=300)
    arguments.add_argument("--ledger")
    arguments.add_argument("--commit", default="unknown")
    options = arguments.parse_args()
    longest = int((options.input + options.output) * (1 + options.range_ratio)) + 64
    flags = f"--max-model-len {longest} {options.flags}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:
        for line in server.log().splitlines():
            if any(word in line for word in LOG_WORDS):
                print(line)
        print(
            f"{options.model} {options.precision} {server.flags}: ready after {server.ready_s:.1f} s, "
            f"{memory_used_mib()} MiB in use",
            flush=True,
        )
        write(options, ledger_lines(options, 0, {"start_s": server.ready_s}))
        for users in options.users:
            write(options, measure(options, server, users))
        if os.environ.get("GALE_SHOW_LOG"):
            print(server.log()[-3000:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
