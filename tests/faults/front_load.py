"""How many events a second the front passes on, how late, and at what cost: `gale bench` against the scripted engine.

The figures of perf/front.md. Processor time an event says more than throughput where other work runs beside.

.venv/bin/python tests/faults/front_load.py --gale-binary build/bin/gale [--against other/bin/gale]

With --against both programs run in turn, and the ratios of each pair are told with their spread.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "faults")]

from gale_server import GaleServer  # noqa: E402
from killing import engine_of  # noqa: E402
from scripts import write_script  # noqa: E402

# name, streams at once, milliseconds a step, tokens of each
RUNS = [
    ("100 streams of 50 tokens a second", 100, 20, 500),
    ("1,000 streams of 50 tokens a second", 1000, 20, 500),
    ("1,000 streams, as fast as it goes", 1000, 1, 500),
]
NUM_PAIRS = 5
FIGURES = [
    "Failed requests",
    "Output token throughput (tok/s)",
    "Peak output token throughput (tok/s)",
    "Median ITL (ms)",
    "P99 ITL (ms)",
]


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(binary, streams, step_ms, tokens):
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(Path(folder), step_ms=step_ms)
        flags = ("--max-num-seqs", 1024, "--max-num-batched-tokens", 65536, "--num-gpu-blocks-override", 1 << 17)
        with GaleServer(
            binary, "--scripted", script, *flags, "--no-access-log", "--engine-beat-timeout", 60
        ) as server:
            command = [
                binary,
                "bench",
                "serve",
                "--base-url",
                server.base_url,
                "--max-concurrency",
                streams,
                "--num-prompts",
                streams,
                "--num-warmups",
                10,
                "--random-input-len",
                16,
                "--random-output-len",
                tokens,
            ]
            processes = {"front": server.process.pid, "engine": engine_of(server.process.pid)}
            before = {name: cpu_seconds(pid) for name, pid in processes.items()}
            said = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300).stdout
            costs = {
                f"{name} us an event": round(1e6 * (cpu_seconds(pid) - before[name]) / (streams * tokens), 1)
                for name, pid in processes.items()
            }
    told = {figure: float(re.search(re.escape(figure) + r":\s+([\d.]+)", said)[1]) for figure in FIGURES}
    return told | {"P99 ITL over the step (ms)": round(told["P99 ITL (ms)"] - step_ms, 2)} | costs


def compare(name, binary, other, load):
    """Ratios of the figures of the first to those of the second, over pairs."""
    pairs = [(measure(binary, *load), measure(other, *load)) for _ in range(NUM_PAIRS)]
    for figure in pairs[0][0]:
        ratios = sorted(one[figure] / two[figure] for one, two in pairs if two[figure])
        if ratios:
            middle = statistics.median(ratios)
            print(f"{name}: {figure}: ratio {middle:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gale-binary", required=True, type=Path)
    parser.add_argument("--against", type=Path, help="another build, to run in turn with the first")
    arguments = parser.parse_args()
    if arguments.against:
        for name, *load in RUNS:
            compare(name, arguments.gale_binary.resolve(), arguments.against.resolve(), load)
        return
    for name, streams, step_ms, tokens in RUNS:
        figures = measure(arguments.gale_binary.resolve(), streams, step_ms, tokens)
        print(f"{name}: " + ", ".join(f"{figure} {value:g}" for figure, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
