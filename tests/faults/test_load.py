"""Crowds at the front's door: ten thousand connections, slow readers and writers, ten times too many requests."""

import asyncio
import json
import resource
import socket
import statistics
import time

import pytest
from gale_server import GaleServer
from killing import resident_bytes
from scripts import chat, write_script
from stream_checker import check_chat_stream
from stream_client import StreamClient

pytestmark = pytest.mark.full
NUM_CONNECTIONS = 10_000
NUM_SLOW = 1_000
CAPACITY = 100  # requests a second
TOKENS_A_REQUEST = 10


def raise_descriptor_limit(wanted):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        pytest.skip(f"{wanted} descriptors are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def request_bytes(body):
    payload = json.dumps(body).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    ).encode() + payload


def test_ten_thousand_connections_at_once_are_all_answered(binary, tmp_path):
    raise_descriptor_limit(NUM_CONNECTIONS + 1000)
    script = write_script(tmp_path, step_ms=5)
    flags = (
        "--max-num-seqs",
        512,
        "--max-num-queued-reqs",
        NUM_CONNECTIONS,
        "--no-access-log",
        "--engine-beat-timeout",
        60,
    )
    with GaleServer(binary, "--scripted", script, *flags) as server:
        statuses, times = {}, []

        async def client():
            begin = time.monotonic()
            try:
                one = await asyncio.wait_for(
                    StreamClient(server.port, "/v1/chat/completions", chat("hi", 5)).run(), 280
                )
                if one.status == 200:
                    assert check_chat_stream(one.raw, include_usage=True).error is None
                verdict = one.status
            except (OSError, asyncio.IncompleteReadError):
                verdict = "lost"
            except TimeoutError:
                verdict = "hung"
            statuses[verdict] = statuses.get(verdict, 0) + 1
            times.append(time.monotonic() - begin)

        async def crowd():
            await asyncio.gather(*(client() for _ in range(NUM_CONNECTIONS)))

        begin = time.monotonic()
        asyncio.run(crowd())
        print(
            f"\n{NUM_CONNECTIONS} connections at once: {statuses} in {time.monotonic() - begin:.1f} s; "
            f"the slowest took {max(times):.1f} s; "
            f"front {resident_bytes(server.process.pid) >> 20} MB"
        )
        assert set(statuses) <= {200, 429, 503} and sum(statuses.values()) == NUM_CONNECTIONS
        assert statuses[200] > NUM_CONNECTIONS / 2


async def gaps_of_good_clients(port, seconds):
    """Milliseconds between neighbouring events of eight clients that read as one should."""
    gaps, over = [], time.monotonic() + seconds

    async def good():
        while time.monotonic() < over:
            client = StreamClient(port, "/v1/chat/completions", chat("good", 100))
            last = []

            def note(one):
                now = time.monotonic()
                if last and one.num_events > 2:  # not the wait for the first token
                    gaps.append((now - last[0]) * 1e3)
                last[:] = [now]

            client.on_event = note
            await client.run()
            assert client.status == 200, client.raw

    await asyncio.gather(*(good() for _ in range(8)))
    return gaps


def test_slow_clients_slow_nobody_else(binary, tmp_path):
    raise_descriptor_limit(4 * NUM_SLOW + 1000)
    script = write_script(tmp_path, step_ms=100)  # what the slow ones have computed is no load to speak of
    flags = (
        "--max-num-seqs",
        1024,
        "--num-gpu-blocks-override",
        1 << 18,
        "--no-access-log",
        "--engine-beat-timeout",
        60,
    )
    with GaleServer(binary, "--scripted", script, *flags) as server:

        async def measure():
            alone = await gaps_of_good_clients(server.port, 20)
            slow = []
            for i in range(2 * NUM_SLOW):
                one = socket.create_connection(("127.0.0.1", server.port))
                if i % 2 == 0:  # never reads: the answer has to wait somewhere
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                    one.sendall(request_bytes(chat("slow reader", 3000)))
                else:  # a head that never ends
                    one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                slow.append(one)
                if i % 50 == 0:
                    await asyncio.sleep(0)

            async def drip():
                while True:
                    for one in slow[1::2]:
                        try:
                            one.send(b"a")
                        except OSError:
                            continue  # the server has had enough of it: that is right
                    await asyncio.sleep(1)

            dripping = asyncio.create_task(drip())
            crowded = await gaps_of_good_clients(server.port, 20)
            dripping.cancel()
            for one in slow:
                one.close()
            return alone, crowded

        alone, crowded = asyncio.run(measure())
        before, after = percentile(alone, 0.99), percentile(crowded, 0.99)
        print(
            f"\ngaps between events beside {NUM_SLOW} slow readers and {NUM_SLOW} slow heads: "
            f"P99 {after:.1f} ms, alone {before:.1f} ms; "
            f"median {statistics.median(crowded):.1f} and {statistics.median(alone):.1f} ms"
        )
        assert after <= before * 1.1 + 5  # a gap is at least a step; five milliseconds are the scheduler's


def open_loop(server, rate, seconds):
    """Requests at this rate, come what may: [(status, seconds to the first token or refusal, longest gap)]."""
    records = []

    async def client():
        begin = time.monotonic()
        one = await StreamClient(
            server.port, "/v1/chat/completions", chat("x", TOKENS_A_REQUEST, ignore_eos=True)
        ).run()
        first = one.first_token_at or time.monotonic()
        assert one.status == 200 or one.status == 429, one.raw
        records.append((one.status, first - begin, one.longest_gap))

    async def arrivals():
        tasks, start = [], time.monotonic()
        for i in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + i / rate - time.monotonic()))
            tasks.append(asyncio.create_task(client()))
        await asyncio.gather(*tasks)

    begin = time.monotonic()
    asyncio.run(arrivals())
    return records, time.monotonic() - begin


def test_ten_times_too_many_requests(binary, tmp_path):
    raise_descriptor_limit(16_000)
    script = write_script(tmp_path, step_ms=2, tokens_per_s=CAPACITY * TOKENS_A_REQUEST)
    flags = (
        "--max-num-seqs",
        32,
        "--max-num-queued-reqs",
        32,
        "--max-queue-wait",
        2,
        "--no-access-log",
        "--engine-beat-timeout",
        60,
    )
    with GaleServer(binary, "--scripted", script, *flags) as server:
        figures = {}
        for name, rate in (("at 0.8", 0.8 * CAPACITY), ("at 10", 10 * CAPACITY)):
            memory = resident_bytes(server.process.pid)
            records, took = open_loop(server, rate, 15)
            served = [record for record in records if record[0] == 200]
            refused = [record[1] for record in records if record[0] == 429]
            figures[name] = (
                len(served) / took,
                percentile([record[1] for record in served], 0.99),
                percentile(refused, 0.99) if refused else 0,
            )
            print(
                f"\n{name} of the capacity: {len(served)} served ({figures[name][0]:.0f} a second), "
                f"{len(refused)} refused; "
                f"first token P99 "
                f"{figures[name][1] * 1e3:.0f} ms, refusals P99 {figures[name][2] * 1e3:.0f} ms, longest gap P99 "
                f"{percentile([record[2] for record in served], 0.99) * 1e3:.0f} ms, "
                f"memory {(resident_bytes(server.process.pid) - memory) >> 20:+d} MB"
            )
        assert figures["at 10"][0] >= 0.9 * CAPACITY
        assert figures["at 10"][1] <= 2.5  # the queue is bounded by the wait that is allowed
        assert figures["at 10"][2] <= 0.5
