#!/usr/bin/env python3
"""Memory of the card: what was planned is what nvidia-smi shows, under loads of several kinds, one after another on one
engine, it stays so and every block comes back, and 120 % of the KV cache is survived.

    python3 tools/gpu/memory.py --gale PATH --model 9b --precision fp8 [--users 1024] [--loads short long mixed]
        [--seconds 60] [--overload | --no-overload] [--layers N]

--seconds is each load's; --loads alone leaves out the loads, --no-overload the 120 %. Ends with 1 if the plan is off by
more than 0.3 GiB, if memory moves by more than that under load, if a request fails, if blocks are missing afterwards,
if anybody is preempted while prefixes of others could be given up, or if at 120 % less than 80 % of the throughput is
left."""

import argparse
import dataclasses
import http.client
import json
import random
import re
import sys
import threading
import time

from served_model import PORT, ServedModel, Watch, device_name, load_arguments, memory_used_mib

TOLERANCE_GIB = 0.3
RANGE_RATIO = 0.9  # of the lengths of a load
MODEL_LEN = 16384  # above the longest of them
KV_USERS = 48
KV_USERS_THAT_FIT = 38
KV_TOKENS = 1024 + 256
MIN_THROUGHPUT = 0.8  # at 120 % of the cache, of that where all fit


@dataclasses.dataclass
class Load:
    users: float  # of all
    input: int
    output: int
    leavers: float = 0.0  # clients beside the users that leave in the middle, of all


LOADS = {
    "short": Load(1, 128, 64),
    "long": Load(1 / 16, 6000, 300),
    "mixed": Load(1 / 2, 1000, 200, leavers=1 / 16),
}
PROBLEMS = []


def check(is_good, what):
    print(("good  " if is_good else "BAD   ") + what, flush=True)
    if not is_good:
        PROBLEMS.append(what)


class Leavers:
    """Clients that ask for long streams and close them after some events, again and again."""

    def __init__(self, count):
        self.is_over, self.num_left, self.num_refused = False, 0, 0
        self.threads = [threading.Thread(target=self.ask, args=(random.Random(i),)) for i in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def ask(self, draw):
        while not self.is_over:
            prompt = [draw.randrange(150_000) for _ in range(draw.randrange(1, 600))]
            body = {"prompt": prompt, "max_tokens": 2000, "ignore_eos": True, "stream": True}
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
            try:
                connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self.num_refused += answer.status != 200
                for _ in range(draw.randrange(0, 80)):
                    answer.readline()
                self.num_left += 1
            finally:
                connection.close()


def run_load(server, options, name, planned):
    load, users = LOADS[name], max(options.users)
    own_users = max(1, round(load.users * users))
    begin, num_done, num_wanted = time.monotonic(), 0, 0
    with Watch("memory.used") as watch, Leavers(round(load.leavers * users)) as leavers:
        while time.monotonic() - begin < options.seconds:
            num_wanted += own_users
            flags = ("--random-range-ratio", str(RANGE_RATIO))
            result = server.bench(options.gale, own_users, own_users, 0, load.input, load.output, flags=flags)
            num_done += result["completed"] if result else 0
    left = f", {leavers.num_left} others left in the middle" if leavers.threads else ""
    check(
        num_done == num_wanted and leavers.num_refused == 0,
        f"{name}: {num_done} of {num_wanted} requests of {own_users} users came whole{left}",
    )
    seen = watch.seen["memory.used"] or [0]
    least, most = min(seen) / 1024, max(seen) / 1024
    check(
        max(abs(least - planned), abs(most - planned)) <= TOLERANCE_GIB,
        f"{name}: {least:.2f} to {most:.2f} GiB in use under load, planned {planned:.2f}",
    )
    check(is_idle_and_empty(server), f"{name}: afterwards nothing runs or waits, and all blocks are free")


def is_idle_and_empty(server):
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
    for _ in range(100):
        if all(server.metric(name) == 0 for name in names):
            return True
        time.sleep(0.1)
    return False


def plan_and_load(options):
    flags = f"--device cuda --max-num-seqs {max(options.users)} --max-model-len {MODEL_LEN} {options.flags}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:
        planned = float(re.search(r"GPU memory in use when serving: ([\d.]+) of", server.log())[1])
        shown = memory_used_mib() / 1024
        check(
            abs(shown - planned) <= TOLERANCE_GIB, f"planned {planned:.2f} GiB, nvidia-smi {shown:.2f} GiB when ready"
        )
        for name in options.loads:
            run_load(server, options, name, planned)
        errors = [line for line in server.log().splitlines() if line.startswith("error")]
        check(not errors, f"no error in the log {errors[:1]}")


def too_little_cache(options):
    """As many users as fit, then so many that their tokens are 120 % of the cache."""
    with ServedModel(options.gale, options.model, options.precision, "--max-model-len 4096", options.layers) as probe:
        per_token = int(re.search(r"(\d+) bytes of KV cache a token", probe.log())[1])
    cache = int(KV_USERS * KV_TOKENS * per_token / 1.2)
    flags = f"--device cuda --max-num-seqs {KV_USERS} --max-model-len 4096 --kv-cache-memory-bytes {cache}"
    with ServedModel(options.gale, options.model, options.precision, flags, options.layers) as server:

        def run(users):
            result = server.bench(options.gale, users, 3 * users, 0, 1024, 256)
            done = result["completed"] if result else 0
            check(done == 3 * users, f"{done} of {3 * users} requests of {users} users finish")
            return (result or {}).get("output_throughput", 0), server.metric("vllm:num_preemptions")

        of_fitting, preemptions = run(KV_USERS_THAT_FIT)
        share = 100 * KV_USERS_THAT_FIT / KV_USERS * 1.2
        told = f"{preemptions:.0f} preemptions at {share:.0f} % of the cache, thrice over: prefixes are given up first"
        check(preemptions == 0, told)
        of_all, preemptions = run(KV_USERS)
        ratio = of_all / max(1e-9, of_fitting)
        told = f"at 120 %: {of_all:.0f} tok/s, {ratio:.2f} of {of_fitting:.0f} where all fit"
        check(ratio >= MIN_THROUGHPUT, f"{told}, {preemptions:.0f} preemptions")
        warnings = server.metric("kv_cache_warnings")
        line = [text for text in server.log().splitlines() if "KV cache:" in text and "% in use" in text]
        check(warnings >= 1 and len(line) >= 1, f"{warnings:.0f} warnings: {(line or [''])[0][-150:]}")
        check(is_idle_and_empty(server), "afterwards nothing runs or waits, and all blocks are free")


def main():
    arguments = load_arguments(100)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--loads", nargs="*", choices=LOADS, default=list(LOADS))
    arguments.add_argument("--overload", action=argparse.BooleanOptionalAction, default=True)
    options = arguments.parse_args()
    print(f"{device_name()}, {options.model} {options.precision}")
    if options.loads:
        plan_and_load(options)
    if options.overload:
        too_little_cache(options)
    sys.exit(1 if PROBLEMS else 0)


main()
