"""Every allocation on the way of a request and of a start fails once: the first, the second, and so on."""

import concurrent.futures
import itertools
import json
import random
import threading

import pytest
from fault_file import NEW_PATH, FaultFile
from killing import engine_of, num_connections, num_descriptors, num_threads, wait_for
from scripts import chat
from sdk import sdk
from stream_rules import check_answer
from test_aborts import metric
from test_fault_points import NUM_REQUESTS, ask, faulty, further_fields, start_once, words_of  # noqa: F401
from test_random_streams import streamed_text, whole_text

NEVER = 1 << 60
# The short tests: some of all parts of the way, and some at random.
GROWTH = 1.4
NUM_RANDOM = 30
LAST_ROUNDS = 30  # in which nothing was left to fail
NUM_STARTS_AT_ONCE = 3  # they wait for themselves a little


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


HELLO = [{"role": "user", "content": "hello"}]
LOOK = {"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}
COMPLETION = {"prompt": ["hello", "the wind"], "echo": True, "logprobs": 2, "max_tokens": 9}
MESSAGES = {"messages": HELLO, "system": "Be brief.", "tools": [LOOK], "max_tokens": 9}
RESPONSE = {"input": "hello", "instructions": "Be brief.", "max_output_tokens": 9}
# What each of the four clients asks for, elsewhere than for chats.
ELSEWHERE = [
    [("/v1/completions", {**COMPLETION, "stream": stream}) for stream in (False, True)],
    [("/v1/messages", {**MESSAGES, "stream": stream}) for stream in (False, True)],
    [("/v1/responses", {**RESPONSE, "stream": stream}) for stream in (False, True)],
    [
        ("/metrics", None),
        ("/v1/models", None),
        ("/server_info", None),
        ("/openapi.json", None),
        ("/tokenize", {"messages": HELLO}),
        ("/v1/messages/count_tokens", {"messages": HELLO}),
        ("/v1/chat/completions/render", {"messages": HELLO}),
        ("/v1/completions", {"prompt": "hello", "n": 2, "max_tokens": 9, "stream": False}),
    ],
]


def text_of(server, path, body):
    response = server.request("POST" if body else "GET", path, body)
    if response.status in (500, 503):
        assert response.json_body()["error"]["message"]
        return "refused"
    assert response.status == 200, response.body
    if not body or "stream" not in body:
        return ""
    if not body["stream"]:
        return whole_text(path, response.json_body())[0]
    stream = check_answer(path, body, None, 200, response.headers["Content-Type"], response.body)
    has_failed = stream["status"] == "failed" if path == "/v1/responses" else stream.error
    return "refused" if has_failed else streamed_text(path, stream)


def ask_elsewhere(server, number):
    """What a client of the other endpoints sees, in the words of `ask`."""
    def said():
        texts = [text_of(server, path, body) for path, body in ELSEWHERE[number]]
        return "refused" if "refused" in texts else str(texts)

    return words_of(said)


def round_of_requests(server, faults, process, nth, ask=ask):
    """What the clients were told while the nth allocation of a process failed, how many it made, which one failed."""
    faults.arm(f"memory.{process}", nth)
    with concurrent.futures.ThreadPoolExecutor(NUM_REQUESTS) as pool:
        said = list(pool.map(lambda number: ask(server, number), range(NUM_REQUESTS)))
    num_passes, failed = faults.num_passes(), faults.failed()
    faults.arm("none", 0)
    return said, num_passes, failed


class Rounds:
    """Requests, and an allocation of a process that fails meanwhile, again and again."""

    def __init__(self, server, faults, process, ask=ask):
        self.server, self.faults, self.process, self.ask = server, faults, process, ask
        self.expected = self.answers()
        assert all("wind" in text for text in self.expected), (self.expected, server.log_text()[-3000:])
        self.passes = [round_of_requests(server, faults, process, NEVER, ask)[1] for _ in range(3)]
        assert max(self.passes) > 100, "the allocations of this process are not counted"
        self.num_faults = self.num_hurt = self.num_closed = self.num_deaths = 0
        self.held = self.what_is_held()

    def what_is_held(self):
        front = self.server.process.pid
        wait_for(lambda: num_connections(front) == 0, "connections that linger end")
        return num_descriptors(front), num_threads(front)

    def answers(self):
        return [self.ask(self.server, number) for number in range(NUM_REQUESTS)]

    def is_healthy(self, where):
        assert self.server.process.poll() is None, where + self.server.log_text()[-2000:]
        return self.server.get("/health").status == 200

    def fail(self, nth):
        """The number of the one that did, 0 if it did not come to that."""
        engine = engine_of(self.server.process.pid)
        said, num_passes, failed = round_of_requests(self.server, self.faults, self.process, nth, self.ask)
        where = f"allocation {failed or nth} of {self.process}: {said}"
        hurt = [text for text, whole in zip(said, self.expected) if text != whole]
        wrong = set(hurt) - {"refused", "closed"}
        if wrong or len(hurt) > (failed > 0):
            calls = "\n".join(self.faults.calls(self.server.process.args[0]))
            raise AssertionError(f"{where}{self.server.log_text()[-1000:]}\ncalled from\n{calls}")
        assert self.process == "serve" or "closed" not in hurt, where
        wait_for(lambda: self.is_healthy(where), f"health after {where}")
        self.passes.append(num_passes)
        self.num_faults += failed > 0
        self.num_hurt += len(hurt)
        self.num_closed += hurt.count("closed")
        self.num_deaths += engine != engine_of(self.server.process.pid)
        return failed

    def end(self, what):
        assert self.num_faults > 0 and self.answers() == self.expected
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "blocks_leaked"):
            wait_for(lambda: metric(self.server, name) == 0, name)
        wait_for(lambda: self.what_is_held() == self.held, f"descriptors and threads as before, {self.held}")
        print(f"\n{self.process}: {what}: {self}")

    def __str__(self):
        return (
            f"{min(self.passes)} to {max(self.passes)} allocations for {NUM_REQUESTS} requests, {self.num_faults} "
            f"failed, {self.num_hurt} requests hurt ({self.num_closed} closed), {self.num_deaths} engines replaced"
        )


def fail_some(server, faults, process, ask=ask):
    """Growing numbers, and random ones."""
    rounds = Rounds(server, faults, process, ask)
    num_all = max(rounds.passes)
    chosen, nth = set(random.Random(0).choices(range(1, num_all + 1), k=NUM_RANDOM)), 1
    while nth <= num_all:
        chosen.add(nth)
        nth = max(nth + 1, int(nth * GROWTH))
    for nth in sorted(chosen):
        rounds.fail(nth)
    rounds.end("some")


def fail_until_none(rounds, numbers):
    """The last that failed. Which allocations a round has, and how many, is a little different each time."""
    num_idle, last = 0, 0
    for nth in numbers:
        failed = rounds.fail(nth)
        num_idle = 0 if failed else num_idle + 1
        last = failed or last
        if num_idle == LAST_ROUNDS:
            break
        if failed and rounds.num_faults % 500 == 0:
            print(f"\n{rounds.process}: up to {failed}: {rounds}", flush=True)
    return last


def numbers_of(span):
    """Of --allocations, FIRST:LAST; without a LAST there is no end, without a span the first is 1."""
    first, _, last = (span or "1:").partition(":")
    return iter(range(int(first), int(last) + 1)) if last else itertools.count(int(first))


def fail_each(server, faults, process, span, ask=ask):
    """The first, the second and so on until none fails, or those that the command line says."""
    rounds = Rounds(server, faults, process, ask)
    first = next(numbers_of(span))
    rounds.end(f"{first} to {fail_until_none(rounds, numbers_of(span))}")


def fail_each_path(server, faults, process, ask=ask):
    """Wherever an allocation is called from: each round fails the first for which that is new, until none is."""
    faults.forget_paths()
    rounds = Rounds(server, faults, process, ask)
    fail_until_none(rounds, itertools.repeat(NEW_PATH))
    rounds.end("each call path")


WAYS = {
    "engine": ("engine", ask),
    "front-http": ("serve", ask),
    "front-web_sockets": ("serve", ask_by_socket),
    "front-elsewhere": ("serve", ask_elsewhere),
}


def test_allocations_of_the_engine_that_fail_hurt_their_request_at_most(faulty):  # noqa: F811
    fail_some(*faulty, "engine")


def test_allocations_of_the_front_that_fail_hurt_their_request_at_most(faulty):  # noqa: F811
    fail_some(*faulty, "serve")


def test_allocations_for_web_sockets_that_fail_hurt_their_socket_at_most(faulty):  # noqa: F811
    fail_some(*faulty, "serve", ask_by_socket)


# The other endpoints have far more: one of each call path, below.
@pytest.mark.full
@pytest.mark.parametrize("way", ["engine", "front-http", "front-web_sockets"])
def test_every_allocation_that_fails_hurts_its_request_at_most(faulty, way, request):  # noqa: F811
    process, ask = WAYS[way]
    fail_each(*faulty, process, request.config.getoption("--allocations"), ask)


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_every_call_path_that_fails_hurts_its_request_at_most(faulty, way):  # noqa: F811
    fail_each_path(*faulty, *WAYS[way])


@pytest.mark.full
@pytest.mark.parametrize("process", ["serve", "engine"])
def test_every_allocation_of_a_start_that_fails_is_told(faulty, binary, process, request, tmp_path):  # noqa: F811
    """By number until none fails, some twenty a second on two cores: an hour for the front."""
    numbers, lock = numbers_of(request.config.getoption("--allocations")), threading.Lock()

    def fail_in_turn(worker):
        faults, num_idle, last, num_starts = FaultFile(tmp_path / f"faults{worker}"), 0, 0, 0
        while num_idle < LAST_ROUNDS:
            with lock:
                nth = next(numbers, None)
            if nth is None:
                break
            failed = start_once(binary, faults, f"memory.{process}", nth)
            num_idle, last, num_starts = (0, nth, num_starts + 1) if failed else (num_idle + 1, last, num_starts)
        return last, num_starts

    with concurrent.futures.ThreadPoolExecutor(NUM_STARTS_AT_ONCE) as pool:
        ends = list(pool.map(fail_in_turn, range(NUM_STARTS_AT_ONCE)))
    num_failed = sum(num for _, num in ends)
    print(f"\nmemory.{process}: {num_failed} allocations failed, the last was {max(last for last, _ in ends)}")
    assert num_failed > 0, "this start has fewer allocations"
