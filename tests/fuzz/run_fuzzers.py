"""Millions of inputs that libFuzzer makes, a target at a time: a row for each with inputs, edges reached and findings.

cmake --preset fuzz && ninja -C build-fuzz gale_fuzz    (Debian: clang-19 libclang-rt-19-dev)
.venv/bin/python tests/fuzz/run_fuzzers.py [TARGET...] [--runs 1000000] [--seconds 3600] [--keep]

The inputs that reached something new stay in build-fuzz/corpus and are the start of the next run. With --keep the
smallest set of them with the same reach joins tests/fuzz/corpus. A finding is left in build-fuzz as TARGET-crash-… (or
-timeout-…, -oom-…, -leak-…); it becomes a file of the corpus with its mend.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-fuzz"
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
MAX_KEPT_BYTES = 1024  # of an input that joins the tree
MAX_KEPT_FILES = 40  # of a target


def program(target):
    """libFuzzer starts itself again to merge and knows its own name only: so the name says the target."""
    link = BUILD / "bin" / f"fuzz_{target}"
    if not link.is_symlink():
        link.symlink_to("gale_fuzz")
    return link


def run(target, runs, seconds):
    """What libFuzzer said of one run, and whether it found nothing wrong."""
    grown = BUILD / "corpus" / target
    grown.mkdir(parents=True, exist_ok=True)
    command = [
        program(target),
        grown,
        CORPUS / target,
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={BUILD}/{target}-",
    ]
    # What costs most and finds least; a finding is run again anyway to read it.
    fast = "malloc_context_size=2:quarantine_size_mb=16:detect_stack_use_after_return=0"
    environment = {**os.environ, "ASAN_OPTIONS": fast}
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    said = done.stdout.decode(errors="replace")
    (BUILD / f"{target}.log").write_text(said)
    return said, done.returncode == 0


def keep(target):
    """Adds inputs of the grown corpus that reach something which the tree's do not."""
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder)
        for file in (CORPUS / target).iterdir():
            shutil.copy(file, merged)
        before = {file.name for file in merged.iterdir()}
        command = [program(target), "-merge=1", merged, BUILD / "corpus" / target]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        new = sorted(
            (file for file in merged.iterdir() if file.name not in before), key=lambda file: file.stat().st_size
        )
        for file in new[: max(0, MAX_KEPT_FILES - len(before))]:
            if file.stat().st_size <= MAX_KEPT_BYTES:
                shutil.copy(file, CORPUS / target / file.name[:16])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs of each target")
    parser.add_argument("--seconds", type=int, default=3600, help="a target's most time")
    parser.add_argument("--keep", action="store_true", help="add what reached something new to the tree's corpus")
    arguments = parser.parse_args()
    found = []
    for target in arguments.targets or sorted(folder.name for folder in CORPUS.iterdir()):
        said, is_clean = run(target, arguments.runs, arguments.seconds)
        inputs = re.search(r"number_of_executed_units:\s*(\d+)", said)
        reach = re.findall(r"cov: (\d+) ft: (\d+)", said)
        edges, features = reach[-1] if reach else (0, 0)
        number = int(inputs[1]) if inputs else 0
        verdict = "nothing" if is_clean else f"see build-fuzz/{target}.log"
        print(f"| {target} | {number:,} | {int(edges):,} | {int(features):,} | {verdict} |", flush=True)
        if not is_clean:
            found.append(target)
            print(said[-4000:], file=sys.stderr)
        elif arguments.keep:
            keep(target)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
