"""Every allocation on the way of a request and of a start fails once: the first, the second, and so on."""

import concurrent.futures
import json
import random
import struct

import pytest
from killing import engine_of, wait_for
from scripts import chat
from sdk import sdk
from test_fault_points import NUM_REQUESTS, ask, faulty, further_fields, start_once  # noqa: F401

NEVER = 1 << 60
# The front's are too many to fail each: some of all parts of the way, and some at random.
GROWTH = 1.4
NUM_RANDOM = {"short": 30, "full": 1500}


def ask_by_socket(server, number):
    """What the client of a WebSocket sees, in the words of `ask`."""
    websockets, client = sdk("websockets"), sdk("websockets.sync.client")
    body = chat(f"hello number {number}", 12, request_id="r", **further_fields(number))
    text = ""
    try:
        with client.connect(
            f"ws://127.0.0.1:{server.port}/v1/chat/completions", open_timeout=120, ping_timeout=None
        ) as socket:
            socket.send(json.dumps(body))
            while True:
                message = json.loads(socket.recv(timeout=120))
                if "error" in message:
                    assert message.get("status", 503) in (500, 503) and message["error"]["message"], message
                    return "refused"
                if message.get("type") == "done":
                    return text
                for choice in message.get("choices", []):
                    text += choice["delta"].get("content") or ""
    except TimeoutError:
        return "silence"
    except (websockets.WebSocketException, OSError, EOFError):
        return "closed"


def round_of_requests(server, faults, process, nth, ask=ask):
    """What the clients were told while the nth allocation of a process failed, and the allocations seen."""
    faults.arm(f"memory.{process}", nth)
    with concurrent.futures.ThreadPoolExecutor(NUM_REQUESTS) as pool:
        said = list(pool.map(lambda number: ask(server, number), range(NUM_REQUESTS)))
    num_passes = struct.unpack_from("<Q", faults.map, 0)[0]
    faults.arm("none", 0)
    return said, num_passes


def some_of(num_all, num_random):
    """Growing numbers up to num_all, and random ones: others each time if they are many, else the same again."""
    seed = random.randrange(1 << 32) if num_random > NUM_RANDOM["short"] else 0
    print(f"\nseed {seed}")
    chosen, nth = set(random.Random(seed).choices(range(1, num_all + 1), k=num_random)), 1
    while nth <= num_all:
        chosen.add(nth)
        nth = max(nth + 1, int(nth * GROWTH))
    return sorted(chosen)


def fail_each(server, faults, process, num_random=None, ask=ask):
    """Some of the allocations fail, or each."""
    expected = [ask(server, number) for number in range(NUM_REQUESTS)]
    assert all(text.startswith("The wind") for text in expected), (expected, server.log_text()[-3000:])
    num_all = max(round_of_requests(server, faults, process, NEVER, ask)[1] for _ in range(3))
    assert num_all > 100, "the allocations of this process are not counted"
    num_faults = num_hurt = deaths = 0
    for nth in some_of(num_all, num_random) if num_random else range(1, num_all + 1):
        engine = engine_of(server.process.pid)
        said, num_passes = round_of_requests(server, faults, process, nth, ask)
        where = f"allocation {nth} of {process}: {said}"
        assert server.process.poll() is None, where + server.log_text()[-2000:]
        hurt = [text for text, whole in zip(said, expected) if text != whole]
        wrong = set(hurt) - {"refused", "closed"}
        assert not wrong and len(hurt) <= 1, where + server.log_text()[-1000:]
        assert process == "serve" or "closed" not in hurt, where
        wait_for(lambda: server.get("/health").status == 200, f"health after {where}")
        num_faults += nth <= num_passes
        num_hurt += len(hurt)
        deaths += engine != engine_of(server.process.pid)
    assert num_faults > 0 and [ask(server, number) for number in range(NUM_REQUESTS)] == expected
    wait_for(lambda: "num_requests_running" in server.get("/metrics").body.decode(), "figures")
    print(
        f"\n{process}: {num_all} allocations for {NUM_REQUESTS} requests, {num_faults} failed, "
        f"{num_hurt} requests hurt, "
        f"{deaths} engines replaced"
    )


def test_allocations_of_the_engine_that_fail_hurt_their_request_at_most(faulty):  # noqa: F811
    fail_each(*faulty, "engine", NUM_RANDOM["short"])


def test_allocations_of_the_front_that_fail_hurt_their_request_at_most(faulty):  # noqa: F811
    fail_each(*faulty, "serve", NUM_RANDOM["short"])


def test_allocations_for_web_sockets_that_fail_hurt_their_socket_at_most(faulty):  # noqa: F811
    fail_each(*faulty, "serve", NUM_RANDOM["short"], ask_by_socket)


@pytest.mark.full
@pytest.mark.parametrize("way", [ask, ask_by_socket], ids=["http", "web_sockets"])
def test_many_allocations_of_the_front_that_fail_hurt_their_request_at_most(faulty, way):  # noqa: F811
    fail_each(*faulty, "serve", NUM_RANDOM["full"], way)


@pytest.mark.full
def test_every_allocation_of_the_engine_that_fails_hurts_its_request_at_most(faulty):  # noqa: F811
    fail_each(*faulty, "engine")


@pytest.mark.full
@pytest.mark.parametrize("process", ["serve", "engine"])
def test_a_start_without_memory_says_so_or_succeeds(faulty, binary, process):  # noqa: F811
    """A start has far too many allocations to fail each: their number grows by a fifth from one to the next."""
    _, faults = faulty
    nth, num_starts = 1, 0
    while start_once(binary, faults, f"memory.{process}", nth):
        nth = max(nth + 1, int(nth * 1.2))
        num_starts += 1
    print(f"\nmemory.{process}: {num_starts} starts, the last at allocation {nth}")
    faults.arm("none", 0)
