"""32 streams that run and 32 that wait, all the time, while the engine under them is killed, aborted and stopped.

Every answer is compared with what an undisturbed server says: text, token ids and usage. Used by test_recovery.py.
"""

import asyncio
import random
import re
import time
from collections import Counter

from killing import engine_of, strike
from stream_checker import check_chat_stream
from stream_client import StreamClient

NUM_STREAMS = 64
NUM_SEQS = 32
LAST_TOKENS = 3
START_GIVES_UP_S = 180
MOMENTS = ("random", "random", "random", "first", "last", "prefill", "start", "idle")


def said(stream):
    choice = stream.choices[0]
    return (
        choice.reasoning,
        choice.content,
        choice.finish_reason,
        tuple(choice.token_ids),
        stream.usage["completion_tokens"],
    )


def bodies_for(rng, count):
    """Greedy, seeded and unseeded requests of many lengths."""
    bodies = []
    for i in range(count):
        words = " ".join(
            rng.choice(["gale", "wind", "serve", "token", "stream"]) for _ in range(rng.choice([3, 10, 300]))
        )
        kind = ("greedy", "seeded", "unseeded")[i % 3]
        body = {
            "messages": [{"role": "user", "content": f"{i}: tell me about {words}"}],
            "ignore_eos": True,
            "stream": True,
            "max_tokens": rng.choice([4, 20, 60, 120]),
            "return_token_ids": True,
            "stream_options": {"include_usage": True},
            "temperature": 0 if kind == "greedy" else 0.9,
        }
        if kind == "seeded":
            body["seed"] = i
        bodies.append((kind, body))
    return bodies


async def ask(port, body, headers=None):
    client = await StreamClient(port, "/v1/chat/completions", body, headers).run()
    assert client.status == 200, client.raw
    return said(check_chat_stream(client.raw, include_usage=True))


class Load:
    """Keeps NUM_STREAMS requests open until told to stop; remembers what each said."""

    def __init__(self, port, bodies, rng):
        self.port, self.bodies, self.rng = port, bodies, rng
        self.is_paused = self.is_over = False
        self.live, self.answers, self.troubles = set(), [], []
        self.last_token_at = 0.0
        self.waiters = []  # (condition on a client, future)

    async def one_client(self, number):
        turn = 0
        while not self.is_over:
            if self.is_paused:
                await asyncio.sleep(0.02)
                continue
            kind, body = self.rng.choice(self.bodies)
            request_id = f"r{number}-{turn}"
            turn += 1
            client = StreamClient(self.port, "/v1/chat/completions", body, {"X-Request-Id": request_id})
            client.on_event = self.note
            self.live.add(client)
            try:
                await client.run()
                assert client.status == 200, client.raw[:300]
                stream = check_chat_stream(client.raw, include_usage=True)
                assert stream.error is None, stream.error
                self.answers.append((kind, body, request_id, said(stream)))
            except (AssertionError, OSError, asyncio.IncompleteReadError, ValueError) as trouble:
                self.troubles.append(f"{request_id}: {trouble!r}")
            finally:
                self.live.discard(client)

    def note(self, client):
        if client.num_events > 1:  # the first is the role: the front says it alone
            self.last_token_at = time.monotonic()
        for waiter in list(self.waiters):
            condition, future = waiter
            if condition(client) and not future.done():
                future.set_result(client)
                self.waiters.remove(waiter)

    async def until(self, condition, timeout=20):
        """Until an event comes after which the condition holds for its client."""
        future = asyncio.get_running_loop().create_future()
        self.waiters.append((condition, future))
        try:
            await asyncio.wait_for(future, timeout)
        except TimeoutError:
            self.waiters = [waiter for waiter in self.waiters if waiter[1] is not future]

    def phases(self):
        """What the live streams are at."""

        def phase(client):
            tokens = max(0, client.num_events - 1)
            if client.status is None or tokens == 0:
                return "waiting or prefill"
            if tokens == 1:
                return "first token"
            return "last tokens" if tokens >= client.body["max_tokens"] - LAST_TOKENS else "mid-stream"

        return Counter(phase(client) for client in self.live)


class Killer:
    """Strikes at moments of all kinds, and measures how long it takes until tokens come again."""

    def __init__(self, server, load, rng, moments):
        self.server, self.load, self.rng, self.choice_of_moments = server, load, rng, moments
        self.num_strikes, self.moments, self.ways, self.phases = 0, Counter(), Counter(), Counter()
        self.resume_s, self.notice_s = [], []

    async def moment(self, kind):
        if kind == "first":
            await self.load.until(lambda client: client.num_events == 2)
        elif kind == "last":
            await self.load.until(lambda client: client.num_events >= client.body["max_tokens"] - 1)
        elif kind == "prefill":
            await self.load.until(lambda client: client.num_events == 1)
        elif kind == "idle":
            self.load.is_paused = True
            while self.load.live:
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.rng.uniform(0, 0.3))
        else:
            await asyncio.sleep(self.rng.uniform(0.05, 0.6))

    async def next_engine(self, old):
        begin = time.monotonic()
        while (pid := engine_of(self.server.process.pid)) in (None, old):
            assert time.monotonic() - begin < START_GIVES_UP_S, "no new engine comes"
            assert self.server.process.poll() is None, "the front died"
            await asyncio.sleep(0.005)
        return pid

    async def until_tokens(self, since):
        while self.load.last_token_at <= since:
            assert time.monotonic() - since < START_GIVES_UP_S, "no token comes any more"
            await asyncio.sleep(0.005)
        return self.load.last_token_at

    async def strike_once(self, moment, way):
        pid = await self.next_engine(None)
        await self.moment(moment)
        self.phases.update(self.load.phases().keys() or ["idle"])
        begin = time.monotonic()
        if not strike(pid, way):
            return
        self.num_strikes += 1
        self.moments[moment] += 1
        self.ways[way] += 1
        new = await self.next_engine(pid)
        gone = time.monotonic()
        if way == "stop":
            self.notice_s.append(gone - begin)
        if moment == "start":  # the next one dies while it loads
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            if strike(new, "kill"):
                self.num_strikes += 1
                self.phases.update(["start"])
                await self.next_engine(new)
                gone = time.monotonic()
        self.load.is_paused = False
        came = await self.until_tokens(gone)
        if moment not in ("idle", "start"):
            self.resume_s.append(came - gone)

    async def run(self, num_strikes, stop_share):
        while self.num_strikes < num_strikes:
            way = "stop" if self.rng.random() < stop_share else self.rng.choice(["kill", "abort"])
            await self.strike_once(self.rng.choice(self.choice_of_moments), way)


def seeds_in(log):
    """The seeds that the front drew, by request."""
    return {found[1]: int(found[2]) for found in re.finditer(r"request (\S+) draws with seed (\d+)", log)}


async def under_fire(server, bodies, num_strikes, stop_share, seed, moments=MOMENTS):
    rng = random.Random(seed)
    load = Load(server.port, bodies, rng)
    tasks = [asyncio.create_task(load.one_client(i)) for i in range(NUM_STREAMS)]
    killer = Killer(server, load, rng, moments)
    await killer.run(num_strikes, stop_share)
    load.is_over = True
    await asyncio.wait_for(asyncio.gather(*tasks), 900)
    return load, killer


async def differences(server, load, seeds):
    """What was said under fire and is not what this undisturbed server says."""
    known, wrong = {}, []
    wanted = {}
    for kind, body, request_id, _ in load.answers:
        asked = {**body, "seed": seeds[request_id]} if kind == "unseeded" else body
        wanted[str(asked)] = asked
    gate = asyncio.Semaphore(NUM_SEQS)

    async def learn(key, asked):
        async with gate:
            known[key] = await ask(server.port, asked)

    await asyncio.gather(*(learn(key, asked) for key, asked in wanted.items()))
    for kind, body, request_id, answer in load.answers:
        asked = {**body, "seed": seeds[request_id]} if kind == "unseeded" else body
        if known[str(asked)] != answer:
            wrong.append((kind, request_id, answer, known[str(asked)]))
    return wrong
