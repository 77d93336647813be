"""Breaks the scheduler and its blocks on purpose, one way after the other, in copies: the simulation must notice each.

    python3 tests/sim/mutations.py --build-dir build-dev

Compiles one file a mutation with the commands of the build folder, and links it before the archives of the right one.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCHEDULER, CACHE, POOL, HASH = (
    f"src/{name}.cpp"
    for name in ("scheduler/scheduler", "kv_cache/kv_cache", "kv_cache/block_pool", "kv_cache/block_hash")
)

# What is broken: (in words, file, right, wrong). `right` stands in the file once.
MUTATIONS = [
    (
        "a sequence that leaves keeps its blocks",
        SCHEDULER,
        "  cache_.release(sequence.table);\n  running_.erase(&sequence);",
        "  running_.erase(&sequence);",
    ),
    ("a sequence that leaves keeps its slot", SCHEDULER, "  free_slots_.push_back(*sequence.slot);\n", ""),
    (
        "one token more than max_tokens",
        SCHEDULER,
        "sequence.num_output_tokens() >= stop.max_tokens ||",
        "sequence.num_output_tokens() > stop.max_tokens ||",
    ),
    ("tokens behind the finish", SCHEDULER, "    if (output.finish) break;\n", ""),
    (
        "min_tokens does not hold",
        SCHEDULER,
        "if (sequence.num_output_tokens() > stop.min_tokens && contains",
        "if (contains",
    ),
    (
        "results of an earlier life of a sequence are taken",
        SCHEDULER,
        "|| found->second->admission != scheduled.admission) {",
        ") {",
    ),
    (
        "the oldest sequence is preempted again and again",
        SCHEDULER,
        "if (!is_oldest || !(*it)->was_preempted_without_progress) return *it;",
        "if (is_oldest || true) return *it;",
    ),
    (
        "newcomers pass those who wait",
        SCHEDULER,
        "Sequence& sequence = **waiting_.begin();",
        "Sequence& sequence = **waiting_.rbegin();",
    ),
    (
        "a step computes more tokens than it may",
        SCHEDULER,
        "std::min(sequence.num_missing(), budget), 0, true)",
        "sequence.num_missing(), 0, true)",
    ),
    (
        "a step begins a grain that it does not fill",
        SCHEDULER,
        "return in_grains - num_decoding >= grain ? in_grains : budget;",
        "return budget;",
    ),
    ("tokens are told that are not counted", SCHEDULER, "  stats_.generation_tokens += output.tokens.size();\n", ""),
    ("blocks of a step that failed are shared", SCHEDULER, "    cache_.forget(sequence.table);  ", "    "),
    (
        "blocks are shared before they are computed",
        CACHE,
        "static_cast<size_t>(num_computed / block_size());",
        "std::min(tokens.size() / static_cast<size_t>(block_size()), table.blocks.size());",
    ),
    (
        "a prefix hit leaves nothing to compute",
        CACHE,
        "(tokens.size() - 1) / static_cast<size_t>(block_size())",
        "tokens.size() / static_cast<size_t>(block_size())",
    ),
    (
        "an evicted block is still found",
        CACHE,
        "    if (allocation->was_kept) prefixes_.erase(allocation->block);\n",
        "",
    ),
    ("tenants share blocks", CACHE, "hasher_.root(salt, extra_keys)", 'hasher_.root("", extra_keys)'),
    (
        "a block that others use is given back",
        POOL,
        "  if (--entry.references > 0) return;\n",
        "  entry.references = 0;\n",
    ),
]


def commands_of(build_dir, *what):
    return subprocess.run(["ninja", "-C", build_dir, "-t", *what], capture_output=True, text=True, check=True).stdout


def compile_commands(build_dir):
    """{source: command as a list} of every file, relative to the root."""
    return {
        str(Path(entry["file"]).resolve().relative_to(ROOT)): shlex.split(entry["command"])
        for entry in json.loads(commands_of(build_dir, "compdb"))
        if entry["file"].startswith(str(ROOT))
    }


def link_command(build_dir):
    lines = [
        line
        for line in commands_of(build_dir, "commands", "sim_test").splitlines()
        if " -o sim_test " in f"{line} " or "/sim_test " in f"{line} "
    ]
    line = next(line for line in reversed(lines) if "libgale_scheduler.a" in line)
    return shlex.split(line.split("&&")[1] if "&&" in line else line)


def replaced(command, source, target, folder):
    """The compile command for another source and object."""
    out = []
    skip = False
    for i, word in enumerate(command):
        if skip:
            skip = False
        elif word in ("-MF", "-MT"):
            skip = True
        elif word == "-MD":
            continue
        elif i > 0 and command[i - 1] == "-o":
            out.append(str(target))
        elif word.endswith(".cpp"):
            out.append(str(source))
        else:
            out.append(word)
    return [*out, "-w", f"-I{folder}"]


def run_mutation(build_dir, commands, link, mutation, flags):
    words, path, right, wrong = mutation
    text = (ROOT / path).read_text()
    if text.count(right) != 1:
        return f"stands {text.count(right)} times in {path}: {right!r}"
    with tempfile.TemporaryDirectory() as folder:
        source, target, program = Path(folder) / Path(path).name, Path(folder) / "mutant.o", Path(folder) / "mutant"
        source.write_text(text.replace(right, wrong))
        built = subprocess.run(
            replaced(commands[path], source, target, ROOT / "src"), cwd=build_dir, capture_output=True, text=True
        )
        if built.returncode != 0:
            return f"does not compile: {built.stderr[-500:]}"
        objects = list(link)
        objects[objects.index("-o") + 1] = str(program)
        first_archive = next(i for i, word in enumerate(objects) if word.endswith(".a"))
        objects.insert(first_archive, str(target))
        linked = subprocess.run(objects, cwd=build_dir, capture_output=True, text=True)
        if linked.returncode != 0:
            return f"does not link: {linked.stderr[-500:]}"
        try:
            run = subprocess.run([str(program), *flags], capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            return None  # it hangs: nobody would miss that
        if run.returncode == 0:
            return "NOT noticed"
        lines = (run.stdout + run.stderr).splitlines()
        said = next((line for line in lines if "CHECK" in line or "check failed" in line or "Failure" in line), "")
        seed = next((line.strip() for line in lines if "reproduce with" in line), "")
        print(f"  {words}: {said.strip()[-110:]} {seed}")
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-dir", required=True, type=Path)
    parser.add_argument("--seeds", default="10000")
    parser.add_argument("--only", help="a part of the words")
    arguments = parser.parse_args()
    build_dir = arguments.build_dir.resolve()
    commands, link = compile_commands(build_dir), link_command(build_dir)
    missed = 0
    chosen = [mutation for mutation in MUTATIONS if (arguments.only or "") in mutation[0]]
    for mutation in chosen:
        if trouble := run_mutation(build_dir, commands, link, mutation, [f"--seeds={arguments.seeds}"]):
            missed += 1
            print(f"  {mutation[0]}: {trouble}")
    print(f"{len(chosen) - missed} of {len(chosen)} mutations noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
