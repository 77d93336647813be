#!/usr/bin/env python3
"""One very long prompt while others decode: the same tokens whatever the chunks, and what it does to the others.

    python3 tools/gpu/long_prompt.py --gale PATH --model 9b|flash [--precision fp8] [--length 128000]
        [--users 32] [--chunks 8192 2048] [--max-mixed-step-ms 1] [--layers N]

For each size of chunk (--max-num-batched-tokens): a server and `--users` streams, first with ordinary prompts of
1,024 tokens that come and go, then decoding alone, then beside the long prompt; how long it took, the others' gaps
before and meanwhile, and whether its tokens are those of the first size. Where they differ, the margin of the two
best tokens at the first difference is printed (what follows cannot be compared), and a margin that no rounding
explains fails.
"""

import argparse
import random
import re
import subprocess
import sys
import time

from served_model import ServedModel, bench_command, device_name

BEFORE_TOKENS = 300  # of each answer of the others, before the long prompt comes
ORDINARY_INPUT = 1024


def start_others(options, num_tokens, num_requests=None, input_len=64):
    """`--users` streams, unless told otherwise each of one request, as a process that prints their gaps."""
    command = bench_command(options.gale, options.users, num_requests or options.users, input_len, num_tokens)
    command += ["--metric-percentiles", "50", "99"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def gap_p99(report):
    return float(re.search(r"P99 ITL \(ms\):\s+([\d.]+)", report)[1])


def run(options, chunk, prompt):
    flags = f"--max-model-len {options.length + 256} --max-num-batched-tokens {chunk} --kv-cache-dtype {options.kv}"
    if options.max_mixed_step_ms:
        flags += f" --max-mixed-step-ms {options.max_mixed_step_ms}"
    flags += f" {options.flags}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:
        ordinary = start_others(options, BEFORE_TOKENS, 3 * options.users, ORDINARY_INPUT)
        ordinary = gap_p99(ordinary.communicate(timeout=300)[0])
        alone = gap_p99(start_others(options, BEFORE_TOKENS).communicate(timeout=300)[0])
        others = start_others(options, options.others_len)
        try:
            time.sleep(1.5)
            begin = time.monotonic()
            body = {
                "prompt": prompt,
                "max_tokens": options.tokens,
                "temperature": 0,
                "return_token_ids": True,
                "logprobs": 2,
                "ignore_eos": True,
            }
            choice = server.post("/v1/completions", body, 500)["choices"][0]
            seconds = time.monotonic() - begin
            still_decoding = others.poll() is None
            report = others.communicate(timeout=300)[0]
        finally:
            if others.poll() is None:
                others.kill()
        gaps = [line.strip() for line in report.splitlines() if "ITL" in line or "Failed" in line]
        print(
            f"chunks of {chunk}: {seconds:.2f} s for {options.length} + {options.tokens} tokens; others "
            f"{'decode still' if still_decoding else 'ended before'}: {'; '.join(gaps)}; "
            f"P99 {gap_p99(report) / ordinary:.1f} times that beside ordinary prompts, {ordinary:.2f} ms, "
            f"{gap_p99(report) / alone:.1f} times that alone, {alone:.2f} ms",
            flush=True,
        )
        return choice["token_ids"], choice["logprobs"]["top_logprobs"]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gale", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--precision", default="fp8")
    arguments.add_argument("--kv", default="auto")
    arguments.add_argument("--length", type=int, default=128000)
    arguments.add_argument("--users", type=int, default=32)
    arguments.add_argument("--others-len", type=int, default=3000)
    arguments.add_argument("--tokens", type=int, default=32)
    arguments.add_argument("--chunks", type=int, nargs="+", default=[8192, 2048])
    arguments.add_argument("--max-mixed-step-ms", type=int)
    arguments.add_argument("--flags", default="")
    arguments.add_argument("--layers", type=int)
    options = arguments.parse_args()
    draws = random.Random(11)
    prompt = [draws.randrange(256, 150000) for _ in range(options.length)]
    print(device_name(), options.model, options.precision)
    results = [run(options, chunk, prompt) for chunk in options.chunks]
    status = 0
    for chunk, (tokens, _) in zip(options.chunks[1:], results[1:]):
        first = results[0][0]
        if tokens == first:
            print(f"chunks of {chunk}: the same {len(tokens)} tokens as with {options.chunks[0]}")
            continue
        place = next(i for i, (a, b) in enumerate(zip(tokens, first)) if a != b)
        values = sorted(results[0][1][place].values(), reverse=True)
        print(
            f"chunks of {chunk}: differs from token {place} on; the two best there are "
            f"{values[0] - values[1]:.4f} nats apart"
        )
        status = 1 if values[0] - values[1] > 0.05 else status
    return status


if __name__ == "__main__":
    sys.exit(main())
