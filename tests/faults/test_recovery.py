"""The engine dies at any moment, in any way: clients notice a pause, and no more."""

import asyncio
import random
import re
import signal
import statistics
import threading
import time

import pytest
from gale_server import GaleServer
from killing import engine_of, is_there, strike, wait_for
from recovery import NUM_SEQS, bodies_for, differences, said, seeds_in, under_fire
from scripts import chat, ids, write_script
from stream_checker import check_chat_stream

BEAT_TIMEOUT_S = 5
SLOW_START_S = 120  # sanitizer builds on a busy machine


def report(killer):
    resume = sorted(killer.resume_s)
    print(
        f"\n{killer.num_strikes} strikes; ways {dict(killer.ways)}; moments {dict(killer.moments)}; "
        f"struck in {dict(killer.phases)}"
    )
    if resume:
        print(
            f"tokens again after the new engine's start: median {statistics.median(resume):.2f} s, "
            f"most {resume[-1]:.2f} s"
        )
    if killer.notice_s:
        print(
            f"stopped engines replaced after at most {max(killer.notice_s):.2f} s (beat timeout {BEAT_TIMEOUT_S} s)"
        )


def go_through_fire(binary, num_strikes, stop_share, seed):
    flags = ("--max-num-seqs", NUM_SEQS, "--max-num-queued-reqs", NUM_SEQS, "--max-queue-wait", 0)
    bodies = bodies_for(random.Random(seed), 30)
    with GaleServer(binary, *flags, "--engine-beat-timeout", BEAT_TIMEOUT_S, "--log-level", "debug") as server:
        load, killer = asyncio.run(under_fire(server, bodies, num_strikes, stop_share, seed))
        report(killer)
        assert not load.troubles, load.troubles[:5]
        assert server.get("/health").status == 200
        assert "\nblocks_leaked 0\n" in server.get("/metrics").body.decode()
        seeds = seeds_in(server.log_text())
    with GaleServer(binary, *flags, "--engine-beat-timeout", 60) as undisturbed:
        wrong = asyncio.run(differences(undisturbed, load, seeds))
    kinds = {
        kind: sum(1 for answer in load.answers if answer[0] == kind) for kind in ("greedy", "seeded", "unseeded")
    }
    print(f"{len(load.answers)} answers compared with an undisturbed server: {kinds}; {len(wrong)} differ")
    assert not wrong, wrong[:2]
    assert min(kinds.values()) > 0
    return killer


def test_twenty_strikes_cost_no_token(binary):
    go_through_fire(binary, 20, 0.1, seed=1)


@pytest.mark.full
def test_two_hundred_strikes_cost_no_token(binary):
    killer = go_through_fire(binary, 210, 0.15, seed=2)
    assert killer.num_strikes >= 200


def test_tokens_come_again_within_two_seconds(binary, tmp_path, promised):
    """With an engine that loads and computes nothing: what is left is the front's own doing."""
    bodies = [("greedy", chat("go on", 1000, return_token_ids=True))]
    with GaleServer(binary, "--scripted", write_script(tmp_path, step_ms=2), "--max-num-seqs", NUM_SEQS) as server:
        load, killer = asyncio.run(under_fire(server, bodies, 8, 0, seed=3, moments=("random",)))
        report(killer)
        assert not load.troubles, load.troubles[:5]
        assert len({answer for *_, answer in load.answers}) == 1
        assert statistics.median(killer.resume_s) <= promised(2)


def num_told(server):
    """Tokens that clients were given so far."""
    return float(re.search(r"^vllm:generation_tokens_total\S* (\S+)", server.get("/metrics").body.decode(), re.M)[1])


def test_an_engine_that_is_killed_during_a_drain_still_lets_streams_end(binary):
    body = chat("Tell me a long story", 200, ignore_eos=True, temperature=0)
    for delay in (0.0, 0.1, 0.3):
        server = GaleServer(binary, "--shutdown-timeout", 300)
        with server:
            undisturbed = said_of(server, body)
            answers, before = [], num_told(server)
            thread = threading.Thread(target=lambda: answers.append(said_of(server, body)))
            thread.start()
            wait_for(lambda: num_told(server) > before, "the stream's first token")
            pid = engine_of(server.process.pid)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(delay)
            strike(pid, "kill")
            thread.join()
            assert answers == [undisturbed]
            assert server.process.wait(400) == 0


def said_of(server, body):
    return said(
        check_chat_stream(
            server.post("/v1/chat/completions", {**body, "return_token_ids": True}).body, include_usage=True
        )
    )


def test_engines_that_die_while_they_load_are_replaced(binary, tmp_path):
    script = write_script(tmp_path, load_ms=400)
    server = GaleServer(binary, "--scripted", script)
    for delay in (0.0, 0.1, 0.25):
        wait_for(lambda: engine_of(server.process.pid), "an engine", SLOW_START_S)
        pid = engine_of(server.process.pid)
        time.sleep(delay)
        strike(pid, "kill")
        wait_for(lambda: engine_of(server.process.pid) not in (None, pid), "the next engine", SLOW_START_S)
    with server:
        assert said_of(server, chat("hello"))[2] == "length"


def test_a_stopped_engine_is_noticed_within_ten_seconds(binary, tmp_path, promised):
    with GaleServer(binary, "--scripted", write_script(tmp_path), is_patient=False) as server:  # the default's 8 s
        answers = []
        thread = threading.Thread(target=lambda: answers.append(said_of(server, chat("go on", 3000))))
        thread.start()
        wait_for(lambda: num_told(server) > 0, "the stream's first token")
        pid = engine_of(server.process.pid)
        begin = time.monotonic()
        strike(pid, "stop")
        wait_for(lambda: engine_of(server.process.pid) != pid, "the end of the stopped engine", promised(12))
        noticed = time.monotonic() - begin
        print(f"\nnoticed after {noticed:.2f} s")
        assert noticed <= promised(10)
        thread.join()
        assert answers and answers[0][4] == 3000


POISON = "drink the poison"


def test_a_request_that_kills_engines_fails_alone(binary, tmp_path):
    script = write_script(tmp_path, step_ms=2, faults=[{"kind": "abort", "prompt_contains": ids(POISON)}])
    with GaleServer(binary, "--scripted", script, "--max-num-seqs", NUM_SEQS) as server:
        undisturbed = said_of(server, chat("healthy", 600))
        answers, begin = {}, time.monotonic()

        def client(i):
            body = chat(f"{POISON} {i}" if i == 13 else "healthy", 600, return_token_ids=True)
            answers[i] = server.post("/v1/chat/completions", body)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(NUM_SEQS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"\nthe poison was found and the others had ended after {time.monotonic() - begin:.1f} s")
        assert len(answers) == NUM_SEQS
        for i, response in answers.items():
            if i == 13:
                refused = check_chat_stream(response.body) if response.status == 200 else None
                error = refused.error if refused else response.json_body()["error"]
                assert error["code"] == "internal_error", error
            else:
                assert said(check_chat_stream(response.body, include_usage=True)) == undisturbed
        assert "in a row with this request" in server.log_text()
        plain = server.post("/v1/chat/completions", {**chat(POISON), "stream": False, "stream_options": None})
        assert plain.status == 500 and plain.json_body()["error"]["type"]
        assert said_of(server, chat("healthy", 600)) == undisturbed


def test_a_crash_loop_ends_in_503_with_the_cause_and_leaves_the_front_up(binary, tmp_path):
    script = write_script(tmp_path, faults=[{"kind": "exit", "exit_code": 9, "after_output": 0}])
    with GaleServer(binary, "--scripted", script) as server:
        statuses = [
            server.post("/v1/chat/completions", {**chat("hello"), "stream": False, "stream_options": None}).status
            for _ in range(2)
        ]
        assert statuses == [500, 500]
        wait_for(lambda: server.get("/health").status == 503, "the end of hope")
        health = server.get("/health")
        assert "exited with code 9" in health.body.decode()
        refused = server.post("/v1/chat/completions", chat("hello"))
        assert refused.status == 503 and int(refused.headers["Retry-After"]) >= 1
        assert server.get("/live").status == 200 and server.get("/v1/models").status == 200


def test_a_killed_front_leaves_nothing_and_its_port_is_free_at_once(binary, tmp_path):
    script = write_script(tmp_path)
    server = GaleServer(binary, "--scripted", script)
    with server:
        pid = engine_of(server.process.pid)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(120)
        begin = time.monotonic()
        with GaleServer(binary, "--scripted", script, port=server.port) as second:
            took = time.monotonic() - begin
            print(f"\naccepting again after {took:.2f} s")
            assert second.get("/health").status == 200
            wait_for(lambda: not is_there(pid), "the end of the first front's engine")
