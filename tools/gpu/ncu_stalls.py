#!/usr/bin/env python3
"""Where a kernel's warps wait: one launch under Nsight Compute, its share of the card's limits, the instructions that
most samples fell on, and the samples of each stretch between barriers and products.

    python3 tools/gpu/ncu_stalls.py --kernel REGEX [--skip 4] [--least 1.5] -- PROGRAM [ARGUMENT …]
    python3 tools/gpu/ncu_stalls.py --csv FILE     (what ncu printed before)

REGEX is matched with the whole name, template arguments included: 'mla_wgmma.*e4m3', 'expert_gemm.*e4m3'. Clocks are
left as they are. --least: percent of all samples from which an instruction is shown."""

import argparse
import csv
import io
import pathlib
import re
import shutil
import subprocess
import tempfile

SECTIONS = ("SpeedOfLight", "WarpStateStats", "SourceCounters", "MemoryWorkloadAnalysis")
SHOWN = re.compile(r"Throughput|Duration|Elapsed Cycles|SM Frequency|Hit Rate|Executed Ipc|Spilling Requests ")
ENDS_STRETCH = re.compile(r"GMMA|\bBAR\b|BAR\.|SYNCS|DEPBAR|UCGABAR|\bEXIT\b")
ENOUGH_OF_SAMPLES = 0.15  # of an instruction's: a reason below is not named


def find_ncu():
    found = shutil.which("ncu") or next(map(str, pathlib.Path("/usr/local").glob("cuda*/bin/ncu")), None)
    if found is None:
        raise SystemExit("ncu is not installed here")
    return found


def profile(options):
    """Details and the source page of one launch, as ncu prints them."""
    ncu = find_ncu()
    with tempfile.TemporaryDirectory() as folder:
        report = f"{folder}/report"
        command = [ncu, "--clock-control", "none", "--kernel-name-base", "demangled", "-k", f"regex:{options.kernel}"]
        command += [word for section in SECTIONS for word in ("--section", section)]
        command += ["-s", str(options.skip), "-c", "1", "-f", "-o", report, *options.program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not pathlib.Path(f"{report}.ncu-rep").exists():
            raise SystemExit(f"nothing was profiled:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        pages = []
        for page in (["details"], ["source", "--csv", "--print-source", "sass"]):
            show = [ncu, "-i", f"{report}.ncu-rep", "--page", *page]
            pages.append(subprocess.run(show, capture_output=True, text=True, check=True).stdout)
        return pages


def instructions(page):
    """Dictionaries of the columns, one an instruction."""
    rows = list(csv.reader(io.StringIO(page)))
    head = next(i for i, row in enumerate(rows) if "Source" in row and "# Samples" in row)
    return [dict(zip(rows[head], row)) for row in rows[head + 1 :] if len(row) == len(rows[head])]


def samples_of(instruction):
    return int(instruction["# Samples"])


def reasons_of(instruction):
    least = ENOUGH_OF_SAMPLES * samples_of(instruction)
    counts = {name[6:]: int(x) for name, x in instruction.items() if name.startswith("stall_") and "Not" not in name}
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda x: -x[1]) if count > least)


def show_instructions(found, least):
    total = max(1, sum(map(samples_of, found)))
    print(f"{total} samples, {len(found)} instructions; those with {least} % and more:")
    for place, instruction in enumerate(found):
        share = 100 * samples_of(instruction) / total
        if share >= least:
            times, source = int(instruction["Instructions Executed"]), instruction["Source"].strip()
            print(f"{place:6d} {share:5.1f} % {times:9d} times  {source[:58]:58} {reasons_of(instruction)}")


def show_stretches(found, least):
    total = max(1, sum(map(samples_of, found)))
    print("stretches that end with a product or a barrier:")
    begin = count = executed = 0
    for place, instruction in enumerate(found):
        count += samples_of(instruction)
        executed += int(instruction["Instructions Executed"])
        if ENDS_STRETCH.search(instruction["Source"]) or place == len(found) - 1:
            if 100 * count / total >= least:
                source = instruction["Source"].strip()
                print(f"{begin:6d} – {place:6d} {100 * count / total:5.1f} %, {executed:10d} executed  {source[:60]}")
            begin, count, executed = place + 1, 0, 0


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--kernel")
    arguments.add_argument("--skip", type=int, default=4)
    arguments.add_argument("--least", type=float, default=1.5)
    arguments.add_argument("--csv", type=pathlib.Path)
    arguments.add_argument("program", nargs="*")  # behind --, with arguments of its own
    options = arguments.parse_args()
    if options.csv:
        page = options.csv.read_text(encoding="utf-8")
    else:
        details, page = profile(options)
        print("\n".join(line.rstrip() for line in details.splitlines() if SHOWN.search(line)))
    found = instructions(page)
    show_instructions(found, options.least)
    show_stretches(found, options.least)


main()
