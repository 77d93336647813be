"""Each named place on the way of a request and of a start fails once, at its first pass, its second, and so on."""

import concurrent.futures
import http.client
import itertools
import os
import re
import subprocess
import time

import pytest
from fault_file import FaultFile
from gale_server import NANO_FLASH, ROOT, GaleServer, free_port
from killing import wait_for
from scripts import chat, write_script
from stream_checker import StreamError, check_chat_stream

# The place, and how many of the requests under way may be hurt when it fails once. Where the engine dies of it, none.
PLACES = {
    "net.accept": 1,
    "net.read": 1,
    "net.write": 1,
    "net.request": 1,
    "server.handler": 1,
    "serving.prompt": 1,
    "serving.journal": 1,
    "serving.hand_over": 1,
    "serving.output": 1,
    "engine.sequence": 1,
    "engine.step": 0,
    "channel.write": 0,
    "channel.read": 0,
    "channel.short_write": 0,
    "channel.interrupted": 0,
    "channel.from_engine": 0,
    "channel.from_front": 0,
}
START_PLACES = {"file.open", "file.read", "file.map", "child.fork", "channel.socketpair"}
NUM_REQUESTS = 4
# What each of them asks for besides: fields that are read in places of their own and change nothing of the answer.
NUMBERS = itertools.count()
LARGE = 100_000  # bytes of a body that a worker takes apart


def further_fields(number):
    if number == 0:
        return {}
    if number == 1:  # a grammar that is compiled each time
        look = {"name": f"look_{next(NUMBERS)}", "parameters": {"type": "object", "properties": {}}}
        tools = [{"type": "function", "function": look}]
        return {"tools": tools, "tool_choice": "auto", "parallel_tool_calls": False, "reasoning_effort": "high"}
    if number == 2:
        return {"thinking": {"type": "enabled"}, "stop": ["nowhere in it"], "logprobs": True, "top_logprobs": 2}
    return {"response_format": {"type": "text"}, "logit_bias": {"7": 1}, "seed": 3, "user": "x" * LARGE}


EXIT_CODES = {3, 4, 70}
START_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def faulty(binary, tmp_path_factory):
    """A server of a build with fault points, and the file that arms them."""
    folder = tmp_path_factory.mktemp("faults")
    faults = FaultFile(folder / "faults")
    script = write_script(folder, step_ms=2)
    with GaleServer(
        binary, "--scripted", script, environment={**os.environ, "GALE_FAULT_FILE": str(faults.path)}
    ) as server:
        if not faults.points():
            message = "this build has no fault points: configure it with -DGALE_FAULT_POINTS=ON"
            pytest.fail(message) if os.environ.get("TESTS_INSIST_ON_SDKS") else pytest.skip(message)
        yield server, faults


def words_of(step):
    """What a client sees: what `step` makes of an answer, "refused" with a right status, "closed" for a connection that
    ended before an answer, "cut" for one that ended within it, or the trouble."""
    try:
        return step()
    except StreamError as trouble:
        return f"a broken stream: {trouble}"
    except http.client.IncompleteRead:
        return "cut"
    except (http.client.HTTPException, OSError):
        return "closed"


def ask(server, number):
    return words_of(lambda: ask_chat(server, number))


def ask_chat(server, number):
    body = chat(f"hello number {number}", 12, stream=number % 2 == 0, **further_fields(number))
    if not body["stream"]:
        del body["stream_options"]
    response = server.post("/v1/chat/completions", body)
    if response.status in (500, 503):
        error = response.json_body()["error"]
        assert error["message"] and set(error) == {"message", "type", "param", "code"}
        return "refused"
    assert response.status == 200, response.body
    if not body["stream"]:
        return response.json_body()["choices"][0]["message"]["content"]
    stream = check_chat_stream(response.body, include_usage=True)
    return "refused" if stream.error else stream.choices[0].content


def one_round(server, faults, place, nth, expected):
    faults.arm(place, nth)
    with concurrent.futures.ThreadPoolExecutor(NUM_REQUESTS) as pool:
        said = list(pool.map(lambda number: ask(server, number), range(NUM_REQUESTS)))
    has_fired = faults.has_fired()
    faults.arm("none", 0)
    hurt = [text for text, whole in zip(said, expected) if text != whole]
    wrong = set(hurt) - {"refused", "closed", "cut"}
    assert not wrong, f"{place}, pass {nth}: {wrong}"
    assert len(hurt) <= (PLACES[place] if has_fired else 0), f"{place}, pass {nth}: {said}"
    assert {"refused"} >= set(hurt) or place.startswith("net."), f"{place}, pass {nth}: {said}"
    assert server.process.poll() is None, server.log_text()[-2000:]
    wait_for(lambda: server.get("/health").status == 200, f"health after {place}, pass {nth}")
    return has_fired, len(hurt)


def run_place(server, faults, place, most):
    faults.arm("none", 0)
    expected = [ask(server, number) for number in range(NUM_REQUESTS)]
    assert all(text.startswith("The wind") for text in expected), expected
    num_faults = num_hurt = 0
    for nth in range(1, most + 1):
        has_fired, hurt = one_round(server, faults, place, nth, expected)
        num_hurt += hurt
        if not has_fired:
            break
        num_faults += 1
    assert num_faults > 0, f"{place} is never passed"
    assert [ask(server, number) for number in range(NUM_REQUESTS)] == expected
    print(f"\n{place}: {num_faults} faults, {num_hurt} requests hurt")


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_fails_hurts_its_request_at_most(faulty, place):
    run_place(*faulty, place, 4)


@pytest.mark.full
@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_fails_at_every_pass_hurts_its_request_at_most(faulty, place):
    run_place(*faulty, place, 400)


def test_places_of_the_code_are_tested():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.cpp"))
    places = set(re.findall(r'(?:fault_happens|may_run_out_of_memory)\((?:kIsFront \? )?"([a-z_.]+)"', source))
    places |= set(re.findall(r'may_run_out_of_memory\(kIsFront \? "[a-z_.]+" : "([a-z_.]+)"', source))
    assert places == set(PLACES) | START_PLACES
    listed = set(re.findall(r"src/\S+\.cpp", (ROOT / "cmake" / "fault_points.cmake").read_text()))
    users = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "src").rglob("*.cpp")
        if "base/fault_point.h" in path.read_text()
    }
    assert listed == users


def start_once(binary, faults, place, nth):
    """True if the fault happened. The program says in a line what is wrong and ends, or it gets ready all the same."""
    faults.arm(place, nth)
    port = free_port()
    command = [str(binary), "serve", str(NANO_FLASH), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "GALE_FAULT_FILE": str(faults.path)}
    )
    server = GaleServer.__new__(GaleServer)
    server.port, server.process = port, process
    deadline = time.monotonic() + START_TIMEOUT_S
    is_ready = False
    while process.poll() is None and not is_ready:
        assert time.monotonic() < deadline, f"{place}, pass {nth}: neither ready nor over"
        time.sleep(0.02)
        try:
            is_ready = server.get("/ready").status == 200
        except OSError:
            continue
    if is_ready:
        process.terminate()
    said = process.communicate(timeout=60)[1]
    if not is_ready:
        assert faults.has_fired(), said
        assert process.returncode in EXIT_CODES, f"{place}, pass {nth}: {process.returncode}, {said}"
        assert (
            re.search("cannot|could not|no memory|error ", said) and "Sanitizer" not in said and "terminate" not in said
        ), said
    return faults.has_fired()


@pytest.mark.full
@pytest.mark.parametrize("place", sorted(START_PLACES))
def test_a_start_that_fails_says_why(faulty, binary, place):
    _, faults = faulty
    nth = 1
    while start_once(binary, faults, place, nth):
        nth += 1
    print(f"\n{place}: {nth - 1} starts")
    faults.arm("none", 0)
