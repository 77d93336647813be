"""How many events a second the front passes on, how late, and at what cost: `gale bench` against the scripted engine.

The figures of perf/front.md. Processor time an event says more than throughput where other work runs beside.

.venv/bin/python tests/faults/front_load.py --gale-binary build/bin/gale [--against other/bin/gale]

With --against both programs run in turn, and the ratios of each pair are told with their spread.
"""

import argparse
import json
import os
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
    ("128 streams of 133 tokens a second, as a fast card makes them", 128, 7.5, 1000),
    ("1,000 streams of 50 tokens a second", 1000, 20, 500),
    ("1,000 streams, as fast as it goes", 1000, 1, 500),
]
NUM_PAIRS = 5
# what gale bench calls it, what it is called here
FIGURES = {
    "failed": "failed",
    "max_output_tokens_per_s": "tokens in the best second",
    "median_itl_ms": "median gap (ms)",
    "p99_itl_ms": "P99 gap (ms)",
}


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_of(binary, folder, step_ms):
    """A scripted server with room for all streams."""
    script = write_script(Path(folder), step_ms=step_ms)
    flags = ("--max-num-seqs", 1024, "--max-num-batched-tokens", 65536, "--num-gpu-blocks-override", 1 << 17)
    return GaleServer(binary, "--scripted", script, *flags, "--no-access-log", "--engine-beat-timeout", 60)


def bench(binary, server, num_prompts, tokens, folder, *flags):
    """What gale bench wrote of so many prompts, all at once unless a flag says otherwise."""
    command = [binary, "bench", "serve", "--base-url", server.base_url, "--num-prompts", num_prompts, *flags]
    command += ["--num-warmups", 10, "--random-input-len", 16, "--random-output-len", tokens]
    command += ["--save-result", "--result-dir", folder, "--result-filename", "r.json"]
    (Path(folder) / "r.json").unlink(missing_ok=True)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert (Path(folder) / "r.json").exists(), done.stdout + done.stderr
    return json.loads((Path(folder) / "r.json").read_text())


def measure(binary, streams, step_ms, tokens):
    with tempfile.TemporaryDirectory() as folder, server_of(binary, folder, step_ms) as server:
        processes = {"front": server.process.pid, "engine": engine_of(server.process.pid)}
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        said = bench(binary, server, streams, tokens, folder)
        spent = {name: cpu_seconds(pid) - before[name] for name, pid in processes.items()}
    events = said["num_chunks"]
    told = {"events a second": round(events / said["duration"]), "tokens an event": streams * tokens / events}
    told |= {name: round(said[figure], 2) for figure, name in FIGURES.items()}
    return told | {f"{name} us an event": round(1e6 * seconds / events, 1) for name, seconds in spent.items()}


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
