"""Half an hour of ordinary trouble: 80 % load on the scripted engine, clients that cancel and vanish, engines that die.

    .venv/bin/python tests/faults/soak.py --gale-binary build/bin/gale [--minutes 30]

Prints a line a minute. Ends with 1 if an answer was wrong or missing, if memory grew by more than 20 MB since the fifth
minute (or since the first sixth of a shorter run), or if descriptors and threads are not what they were.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "faults")]

from gale_server import GaleServer  # noqa: E402
from killing import engine_of, num_descriptors, num_threads, resident_bytes, strike  # noqa: E402
from scripts import chat, write_script  # noqa: E402
from stream_checker import check_chat_stream  # noqa: E402
from stream_client import StreamClient  # noqa: E402

CAPACITY = 60  # requests a second
TOKENS_A_REQUEST = 20
LOAD = 0.8
KILL_EVERY_S = 20
MAX_GROWTH = 20 << 20


class Soak:
    def __init__(self, server, rng):
        self.server, self.rng = server, rng
        self.num_answered = self.num_left = self.num_kills = 0
        self.troubles, self.expected = [], None
        self.tasks = set()

    async def ask(self):
        client = await StreamClient(
            self.server.port, "/v1/chat/completions", chat("soak", TOKENS_A_REQUEST, ignore_eos=True)
        ).run()
        assert client.status == 200, (client.status, client.raw[:200])
        stream = check_chat_stream(client.raw, include_usage=True)
        assert stream.error is None and stream.usage["completion_tokens"] == TOKENS_A_REQUEST, stream.error
        assert self.expected in (None, stream.choices[0].content), "another text"
        self.expected = stream.choices[0].content
        self.num_answered += 1

    async def leave(self):
        """Cancels in the middle, at a random moment."""
        try:
            await asyncio.wait_for(self.ask(), self.rng.uniform(0.001, 0.4))
        except TimeoutError:
            self.num_left += 1

    async def one(self):
        try:
            await (self.leave() if self.rng.random() < 0.1 else self.ask())
        except (AssertionError, OSError, asyncio.IncompleteReadError) as trouble:
            self.troubles.append(repr(trouble))

    async def arrivals(self, until):
        while time.monotonic() < until:
            await asyncio.sleep(self.rng.expovariate(LOAD * CAPACITY))
            task = asyncio.create_task(self.one())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        while self.tasks:
            await asyncio.sleep(0.1)

    async def kills(self, until):
        while time.monotonic() < until - KILL_EVERY_S:
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * KILL_EVERY_S)
            pid = engine_of(self.server.process.pid)
            self.num_kills += pid is not None and strike(pid, self.rng.choice(["kill", "abort", "stop"]))

    def state(self):
        front = self.server.process.pid
        return resident_bytes(front), num_descriptors(front), num_threads(front)

    async def watch(self, until, settled_at):
        begin, reference = time.monotonic(), None
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(60, max(0.1, until - now)))
            memory, descriptors, threads = self.state()
            if reference is None and time.monotonic() >= settled_at:
                reference = memory
            print(
                f"minute {(time.monotonic() - begin) / 60:.0f}: {self.num_answered} answered, {self.num_left} left, "
                f"{self.num_kills} kills, "
                f"{len(self.troubles)} failed; {memory / 2**20:.1f} MB, {descriptors} descriptors, {threads} threads",
                flush=True,
            )
        return reference

    async def run(self, minutes):
        begin = time.monotonic()
        until, settled_at = begin + 60 * minutes, begin + 60 * min(5.0, minutes / 6)
        results = await asyncio.gather(self.arrivals(until), self.kills(until), self.watch(until, settled_at))
        return results[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gale-binary", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(Path(folder), step_ms=5, tokens_per_s=CAPACITY * TOKENS_A_REQUEST)
        flags = (
            "--max-num-seqs",
            32,
            "--max-num-queued-reqs",
            4096,
            "--max-queue-wait",
            0,
            "--no-access-log",
            "--engine-beat-timeout",
            3,
        )
        with GaleServer(arguments.gale_binary, "--scripted", script, *flags) as server:
            soak = Soak(server, random.Random(5))
            asyncio.run(Soak(server, random.Random(6)).arrivals(time.monotonic() + 3))  # threads and pools are there
            time.sleep(4)
            before = soak.state()
            reference = asyncio.run(soak.run(arguments.minutes))
            time.sleep(4)  # lingering connections end
            after = soak.state()
    growth = after[0] - reference
    print(
        f"{soak.num_answered} answered, {soak.num_left} left, {soak.num_kills} engines killed, "
        f"{len(soak.troubles)} failed; "
        f"memory {growth / 2**20:+.1f} MB; "
        f"descriptors {before[1]} -> {after[1]}, threads {before[2]} -> {after[2]}"
    )
    if soak.troubles:
        print("\n".join(soak.troubles[:5]))
    is_well = not soak.troubles and growth <= MAX_GROWTH and before[1:] == after[1:] and soak.num_kills > 0
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
