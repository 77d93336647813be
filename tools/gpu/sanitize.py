#!/usr/bin/env python3
"""compute-sanitizer over tests of a binary, a process a test, several at a time: one that hangs costs its own
time only.

    python3 tools/gpu/sanitize.py --program PATH/cuda_ops_test --tool memcheck|racecheck [--filter '*Moe*:*Linear*']
        [--jobs 6] [--limit 400] [--seconds 560] [--log FOLDER]

Prints a line a test: clean, what was found, failed, or out of time. The end is 0 if all were clean. FOLDER gets what
the sanitizer said of those that were not."""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import time

from session import end_group

FOUND = 9  # the sanitizer's exit status then
SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (.*)")


def tests_of(program, wanted):
    listing = subprocess.run(
        [program, "--gtest_list_tests", f"--gtest_filter={wanted}"], capture_output=True, text=True, check=True
    ).stdout
    suite, tests = "", []
    for line in listing.splitlines():
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            tests.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return tests


def sanitize(options, test, deadline):
    """(verdict, seconds)"""
    limit = min(options.limit, deadline - time.monotonic())
    if limit < 1:
        return "left out", 0.0
    command = ["compute-sanitizer", "--tool", options.tool, "--error-exitcode", str(FOUND)]
    command += [options.program, "--gtest_brief=1", f"--gtest_filter={test}"]
    begin = time.monotonic()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = child.communicate(timeout=limit)
        found = SUMMARY.findall(said)
        verdict = {0: "clean", FOUND: "; ".join(found) or "found something"}.get(
            child.returncode, f"failed ({child.returncode})"
        )
    except subprocess.TimeoutExpired:
        end_group(child)
        said, _ = child.communicate()
        verdict = "out of time"
    if options.log and verdict != "clean":
        options.log.mkdir(parents=True, exist_ok=True)
        (options.log / (re.sub(r"[^\w.]", "_", test) + ".txt")).write_text(said, encoding="utf-8")
    return verdict, time.monotonic() - begin


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--tool", required=True, choices=["memcheck", "racecheck"])
    arguments.add_argument("--filter", default="*Attention*:MlaPrefill*:Linear*:Moe*:Sample*")
    arguments.add_argument("--jobs", type=int, default=6)
    arguments.add_argument("--limit", type=float, default=400, help="seconds a test")
    arguments.add_argument("--seconds", type=float, default=560, help="for all")
    arguments.add_argument("--log", type=pathlib.Path)
    options = arguments.parse_args()
    deadline = time.monotonic() + options.seconds
    tests = tests_of(options.program, options.filter)
    if not tests:
        sys.exit(f"no test of {options.program} matches {options.filter}")
    num_clean = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        verdicts = {pool.submit(sanitize, options, test, deadline): test for test in tests}
        for done in concurrent.futures.as_completed(verdicts):
            verdict, seconds = done.result()
            num_clean += verdict == "clean"
            print(f"{verdicts[done]:70} {seconds:6.1f} s  {verdict}", flush=True)
    print(f"{num_clean} of {len(tests)} tests clean under {options.tool}")
    sys.exit(0 if num_clean == len(tests) else 1)


main()
