"""Instructions that the front executes for an event, counted by valgrind: the same on a busy machine and a quiet one.

Two loads of different size run, and the difference is divided by the difference in events, so that the start does not
count. With --against a second program is counted, too. The functions that cost most are listed for the larger load.

.venv/bin/python tests/faults/front_cost.py --gale-binary build/bin/gale [--against other/bin/gale]
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "faults")]

import gale_server  # noqa: E402
from scripts import chat, write_script  # noqa: E402
from stream_client import StreamClient  # noqa: E402

NUM_STREAMS = 20
TOKENS = (50, 250)  # of a stream, in the smaller and the larger load
NUM_FUNCTIONS = 25
gale_server.START_TIMEOUT_S = 1200


def count(binary, tokens, folder):
    """Instructions of the whole life of a front with this load, and the file that says where."""
    out = folder / f"callgrind.{tokens}"
    wrapper = folder / "gale-under-valgrind"
    wrapper.write_text(f'#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file={out} {binary} "$@"\n')
    wrapper.chmod(0o755)
    script = write_script(folder, step_ms=50)
    flags = ("--no-access-log", "--engine-beat-timeout", 300, "--max-num-seqs", NUM_STREAMS)
    with gale_server.GaleServer(wrapper, "--scripted", script, *flags) as server:

        async def load():
            bodies = [chat("go on", tokens, ignore_eos=True) for _ in range(NUM_STREAMS)]
            return await asyncio.gather(
                *(StreamClient(server.port, "/v1/chat/completions", body).run() for body in bodies)
            )

        num_events = sum(client.num_events for client in asyncio.run(load()))
        server.stop()
        total = int(re.findall(r"Collected : (\d+)", server.log_text())[-1])
    return total, num_events, out


def cost(binary):
    with tempfile.TemporaryDirectory() as folder:
        (small, few, _), (large, many, out) = (count(binary, tokens, Path(folder)) for tokens in TOKENS)
        told = subprocess.run(["callgrind_annotate", str(out)], capture_output=True, text=True).stdout
    rows = [line for line in told.splitlines() if re.match(r"\s*[\d,]+ \(", line)][1 : NUM_FUNCTIONS + 1]
    return (large - small) / (many - few), rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gale-binary", required=True, type=Path)
    parser.add_argument("--against", type=Path, help="another build, counted in the same way")
    arguments = parser.parse_args()
    per_event, rows = cost(arguments.gale_binary.resolve())
    print("\n".join(rows))
    print(f"{per_event:,.0f} instructions of the front an event")
    if arguments.against:
        other, _ = cost(arguments.against.resolve())
        print(f"{other:,.0f} of {arguments.against}: ratio {per_event / other:.3f}")


if __name__ == "__main__":
    main()
