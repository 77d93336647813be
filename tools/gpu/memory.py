#!/usr/bin/env python3
"""Memory of the card: what was planned is what nvidia-smi shows, under a mixed load it stays so, and 120 % of the KV
cache is survived.

    python3 tools/gpu/memory.py --gale PATH --model 9b --precision fp8 [--users 1024] [--seconds 30] [--layers N]

Ends with 1 if the plan is off by more than 0.3 GiB, if memory moves by more than that under load, or if a request
fails."""

import re
import sys
import threading
import time

from served_model import ServedModel, device_name, load_arguments, memory_used_mib

TOLERANCE_GIB = 0.3
KV_USERS = 48
KV_TOKENS = 1024 + 256
PROBLEMS = []


def check(is_good, what):
    print(("good  " if is_good else "BAD   ") + what, flush=True)
    if not is_good:
        PROBLEMS.append(what)


class Watch:
    """The least and the most that nvidia-smi shows while this is open."""

    def __enter__(self):
        self.seen, self.is_over = [memory_used_mib()], False
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.is_over:
            self.seen.append(memory_used_mib())
            time.sleep(0.5)

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()


def plan_and_load(options):
    users = max(options.users)
    flags = f"--device cuda --max-num-seqs {users} --max-model-len 4096 {options.flags}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:
        planned = float(re.search(r"GPU memory in use when serving: ([\d.]+) of", server.log())[1])
        shown = memory_used_mib() / 1024
        check(
            abs(shown - planned) <= TOLERANCE_GIB, f"planned {planned:.2f} GiB, nvidia-smi {shown:.2f} GiB when ready"
        )
        begin, num_done, num_wanted = time.monotonic(), 0, 0
        with Watch() as watch:
            while time.monotonic() - begin < options.seconds:
                num_wanted += users
                result = server.bench(options.gale, users, users, 0, 300, 100, flags=("--random-range-ratio", "0.9"))
                num_done += result["completed"] if result else 0
        most = max(watch.seen) / 1024
        check(
            num_done == num_wanted,
            f"{num_done} of {num_wanted} requests of a mixed load with {users} users came whole",
        )
        told = f"most in use under load {most:.2f} GiB, {most - shown:+.2f} since ready, planned {planned:.2f}"
        check(abs(most - planned) <= TOLERANCE_GIB, told)


def too_little_cache(options):
    """So many users that their tokens are 120 % of the cache."""
    with ServedModel(options.gale, options.model, options.precision, "--max-model-len 4096", options.layers) as probe:
        per_token = int(re.search(r"(\d+) bytes of KV cache a token", probe.log())[1])
    cache = int(KV_USERS * KV_TOKENS * per_token / 1.2)
    flags = f"--device cuda --max-num-seqs {KV_USERS} --max-model-len 4096 --kv-cache-memory-bytes {cache}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:
        result = server.bench(options.gale, KV_USERS, 2 * KV_USERS, 0, 1024, 256)
        done = result["completed"] if result else 0
        check(done == 2 * KV_USERS, f"{done} of {2 * KV_USERS} requests finish with 120 % of the cache wanted")
        warnings, preemptions = server.metric("kv_cache_warnings"), server.metric("vllm:num_preemptions")
        line = [text for text in server.log().splitlines() if "KV cache:" in text and "% in use" in text]
        check(
            warnings >= 1 and len(line) >= 1,
            f"{warnings:.0f} warnings, {preemptions:.0f} preemptions: {(line or [''])[0][-150:]}",
        )


def main():
    arguments = load_arguments(100)
    arguments.add_argument("--seconds", type=float, default=30)
    options = arguments.parse_args()
    print(f"{device_name()}, {options.model} {options.precision}")
    plan_and_load(options)
    too_little_cache(options)
    sys.exit(1 if PROBLEMS else 0)


main()
