#!/usr/bin/env python3
"""All that is waiting for a card, in one command: blocks in the order of what they are worth, each under a limit of
time.

    python3 tools/gpu/session.py --programs FOLDER --out OUT [--seconds 570] [--from BLOCK] [--only BLOCK …]
        [--skip BLOCK …] [--list]

FOLDER holds the programs, or what tools/gpu/pack.sh wrote. Run from the root of the checkout. A block that fails, hangs
or crashes costs its own time only. OUT/session.log has everything that was printed, as it is printed; OUT/ledger.jsonl
the figures; OUT/table.txt, which is printed last and rewritten after each block, how each ended and with which --from
the next call goes on. The end is 0 if every block that was to run did so and went well."""

import argparse
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARCHIVE = "programs.tar.xz"
GRACE_S = 5  # for what a block started, after it was told to end
LAST_WORDS = 3  # lines of a block in the table


@dataclasses.dataclass
class Block:
    """A command with {programs}, {python}, {out} and {commit} to fill in. With less than `least` it is not begun."""

    name: str
    command: str
    limit: int
    least: int = 20


def tool(name, arguments):
    return f"{{python}} tools/gpu/{name} {arguments}"


def rows(model, limit):
    return Block(
        f"rows-{model}",
        tool(
            "rows.py",
            f"--gale {{programs}}/gale --only {model} --seconds {{seconds}} --ledger {{out}}/ledger.jsonl "
            "--commit {commit}",
        ),
        limit,
        60,
    )


def sanitizer(name):
    command = f"--tool {name} --program {{programs}}/cuda_ops_test --seconds {{seconds}} --log {{out}}/{name}"
    return Block(name, tool("sanitize.py", command), 500, 120)


GALE = "--gale {programs}/gale"
BLOCKS = [
    Block("ops", "{programs}/cuda_ops_test --gtest_brief=1", 150),
    Block("models", "{programs}/cuda_models_test --gtest_brief=1", 200),
    Block("faults", tool("faults.py", "{programs}/gale_with_faults"), 240, 60),
    rows("9b-fp8", 240),
    rows("flash-fp8", 400),
    Block("load-flash", tool("load_time.py", f"{GALE} --model flash"), 150, 60),
    Block("load-46v-fp8", tool("load_time.py", f"{GALE} --model 46v --layers 24 --fp8-checkpoint --runs 1"), 120, 60),
    Block("load-9b", tool("load_time.py", f"{GALE} --model 9b"), 100, 45),
    Block("memory-9b", tool("memory.py", f"{GALE} --model 9b --precision fp8 --users 1024 --seconds 40"), 300, 150),
    Block(
        "kills-9b",
        tool(
            "kills.py",
            f"{GALE} --model 9b --precision fp8 --users 64 --ledger {{out}}/ledger.jsonl --commit {{commit}}",
        ),
        130,
        90,
    ),
    Block("long-9b", tool("long_prompt.py", f"{GALE} --model 9b --chunks 8192 2048"), 200, 80),
    Block(
        "long-9b-even",
        tool("long_prompt.py", f"{GALE} --model 9b --chunks 8192 --others-len 6000 --max-mixed-step-ms 1"),
        100,
        60,
    ),
    Block(
        "long-flash",
        tool("long_prompt.py", f"{GALE} --model flash --kv fp8 --length 180000 --chunks 8192 --others-len 8000"),
        300,
        150,
    ),
    Block("attention-bench", "{programs}/cuda_attention_bench", 90),
    Block("ops-bench", "{programs}/cuda_ops_bench", 200),
    Block(
        "stalls-experts",
        tool("ncu_stalls.py", "--kernel expert_gemm.*e4m3 -- {programs}/cuda_ops_bench M=2048 flash.moe"),
        60,
    ),
    Block(
        "stalls-mla",
        tool("ncu_stalls.py", "--kernel mla_wgmma.*e4m3 -- {programs}/cuda_attention_bench mla --case 256x1280"),
        60,
    ),
    Block("tune", tool("tune.py", f"{GALE} --folder {{out}}/tune --seconds {{seconds}}"), 400, 120),
    Block("quality", "{programs}/cuda_quality_test --gtest_brief=1", 90),
    rows("9b-bf16", 240),
    rows("flash-bf16", 400),
    rows("46v-fp8", 300),
    sanitizer("memcheck"),
    sanitizer("racecheck"),
    Block("doctor", "{programs}/gale doctor", 30, 10),
]


@dataclasses.dataclass
class Outcome:
    block: str
    state: str  # good, failed, out of time, left out
    seconds: float = 0.0
    words: tuple = ()

    @property
    def is_good(self):
        return self.state == "good"


def end_group(child):
    """The block and what it started; both the polite way and, after a while, the other."""
    for sent, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(child.pid, sent)
        except ProcessLookupError:
            return
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def run_block(block, seconds, values, log_path):
    words = block.command.format(seconds=max(1, int(seconds - GRACE_S)), **values).split()
    with open(log_path, "a", encoding="utf-8") as log:
        log.write(f"\n==== {block.name}: {' '.join(words)} (at most {seconds:.0f} s)\n")
        log.flush()
        begin, start = time.monotonic(), log_path.stat().st_size
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        except OSError as trouble:
            log.write(f"{trouble}\n")
            return Outcome(block.name, "failed", 0, (str(trouble),))
        try:
            code = child.wait(seconds)
            state = "good" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            state = "out of time"
        end_group(child)  # a block that ended may have left a server behind
    with open(log_path, "rb") as log:
        log.seek(start)
        text = log.read().decode(errors="replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return Outcome(block.name, state, time.monotonic() - begin, tuple(lines[-LAST_WORDS:]))


def table(outcomes, going_on):
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.block:16} {outcome.state:14} {outcome.seconds:6.1f} s")
        lines += [f"    {line[-150:]}" for line in outcome.words]
    good = sum(outcome.is_good for outcome in outcomes)
    lines.append(
        f"{good} of {len(outcomes)} blocks went well" + (f"; go on with --from {going_on}" if going_on else "")
    )
    return "\n".join(lines) + "\n"


def run_all(blocks, options, values):
    """Outcomes in order; every block gets what is left of --seconds, at most its own limit."""
    deadline = time.monotonic() + options.seconds
    outcomes, going_on = [], None
    for block in blocks:
        left = deadline - time.monotonic() - GRACE_S
        if left < block.least:
            outcomes.append(Outcome(block.name, "left out"))
            going_on = going_on or block.name
        else:
            print(f"{block.name} …", flush=True)
            outcomes.append(run_block(block, min(block.limit, left), values, options.out / "session.log"))
            outcome = outcomes[-1]
            if outcome.state == "out of time" and left < block.limit:
                going_on = going_on or block.name  # cut off by the whole session's limit, not by its own
            print(f"{block.name}: {outcome.state}, {outcome.seconds:.1f} s", flush=True)
        (options.out / "table.txt").write_text(table(outcomes, going_on), encoding="utf-8")
    return outcomes, going_on


def chosen_blocks(blocks, options):
    names = [block.name for block in blocks]
    for name in [*options.only, *options.skip, *([options.start] if options.start else [])]:
        if name not in names:
            raise SystemExit(f"session.py: there is no block {name}; there are {', '.join(names)}")
    first = names.index(options.start) if options.start else 0
    return [
        block
        for block in blocks[first:]
        if (not options.only or block.name in options.only) and block.name not in options.skip
    ]


def unpack(folder):
    """The folder of the programs themselves, and the commit that they were built of."""
    commit = folder / "commit"
    named = commit.read_text(encoding="utf-8").split()[0] if commit.exists() else "unknown"
    if not (folder / ARCHIVE).exists():
        return folder, named
    target = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"gale-programs-{named}-{os.getpid()}"
    with tarfile.open(folder / ARCHIVE) as archive:
        archive.extractall(target, filter="data")
    return target, named


def main(blocks, words):
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--programs", type=pathlib.Path)
    arguments.add_argument("--out", type=pathlib.Path)
    arguments.add_argument("--seconds", type=float, default=570)
    arguments.add_argument("--from", dest="start")
    arguments.add_argument("--only", nargs="+", default=[])
    arguments.add_argument("--skip", nargs="+", default=[])
    arguments.add_argument("--list", action="store_true")
    options = arguments.parse_args(words)
    wanted = chosen_blocks(blocks, options)
    if options.list:
        for block in wanted:
            print(f"{block.name:16} {block.limit:4} s  {block.command}")
        return 0
    if not options.programs or not options.out:
        arguments.error("--programs and --out are needed")
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    programs, commit = unpack(options.programs.resolve())
    values = {"programs": programs, "python": sys.executable, "out": options.out, "commit": commit}
    try:
        outcomes, going_on = run_all(wanted, options, values)
    finally:
        if programs != options.programs.resolve():
            shutil.rmtree(programs, ignore_errors=True)
    print(table(outcomes, going_on), end="")
    return 0 if outcomes and all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(BLOCKS, sys.argv[1:]))
