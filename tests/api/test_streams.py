"""Streams that are taken up again after a lost connection."""

import http.client
import json
import re
import time

import pytest
from gale_server import GaleServer
from killing import wait_for
from messages_checker import check_messages_stream
from stream_checker import check_chat_stream

STORY = {"messages": [{"role": "user", "content": "Tell me about gale"}], "max_tokens": 100, "ignore_eos": True, "stream": True, "temperature": 0.8, "seed": 5}
RESUMABLE = {"X-Stream-Resumable": "true"}


def begin(server, path, body, num_bytes, headers=None):
    """The first bytes of a resumable stream, cut by closing the connection; with the stream's id."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **RESUMABLE, **(headers or {})})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    data = b""
    while len(data) < num_bytes:
        data += response.read1(4096)
    connection.close()
    return response.getheader("X-Stream-Id"), data[:data.rindex(b"\n\n") + 2]


def last_id(data):
    return [line for line in data.split(b"\n") if line.startswith(b"id: ")][-1][4:].decode()


def said(stream):
    return [(c.reasoning, c.content, c.finish_reason) for _, c in sorted(stream.choices.items())]


def test_a_lost_stream_goes_on_where_it_was(server):
    undisturbed = said(check_chat_stream(server.post("/v1/chat/completions", STORY).body))
    stream_id, first = begin(server, "/v1/chat/completions", STORY, 3000)
    number = int(last_id(first).split(":")[1])
    rest = server.get(f"/v1/streams/{stream_id}?from={number + 1}")
    assert rest.headers["X-Stream-Id"] == stream_id
    assert said(check_chat_stream(first + rest.body)) == undisturbed
    again = server.get(f"/v1/streams/{stream_id}").body           # all of it, from a finished stream
    assert said(check_chat_stream(again)) == undisturbed
    numbers = [int(line.split(b":")[2]) for line in again.split(b"\n") if line.startswith(b"id: ")]
    assert numbers == list(range(len(numbers)))


def test_last_event_id_repeats_the_request(server):
    undisturbed = said(check_chat_stream(server.post("/v1/chat/completions", STORY).body))
    _, first = begin(server, "/v1/chat/completions", STORY, 3000)
    rest = server.post("/v1/chat/completions", STORY, headers={"Last-Event-ID": last_id(first)})
    assert said(check_chat_stream(first + rest.body)) == undisturbed


def test_the_other_formats_go_on_too(server):
    body = {"messages": STORY["messages"], "max_tokens": 100, "ignore_eos": True, "stream": True, "temperature": 0}
    whole = check_messages_stream(server.post("/v1/messages", body).body)
    stream_id, first = begin(server, "/v1/messages", body, 3000)
    number = int(last_id(first).split(":")[1])
    rest = server.get(f"/v1/streams/{stream_id}?from={number + 1}").body
    assert check_messages_stream(first + rest).blocks == whole.blocks


def running(server):
    text = server.get("/metrics", headers={"X-Api-Key": "one"}).body.decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("vllm:num_requests_running"))


ENDLESS = {**STORY, "max_tokens": 3000}


def with_window(binary, seconds):
    keys = ("--api-key", "one", "--api-key", "two")
    return GaleServer(binary, *keys, "--stream-resume-window", seconds, "--stream-resume-bytes", 20000)


def test_streams_belong_to_a_key_and_can_be_cancelled(binary):
    with with_window(binary, 300) as server:
        one, two = ({"X-Api-Key": key} for key in ("one", "two"))
        endless = ENDLESS
        stream_id, first = begin(server, "/v1/chat/completions", endless, 2000, one)
        assert server.get(f"/v1/streams/{stream_id}", headers=two).status == 404
        assert server.request("DELETE", f"/v1/streams/{stream_id}", headers=two).status == 404
        assert server.post("/v1/chat/completions", endless, headers={**two, "Last-Event-ID": last_id(first)}).status == 404
        wait_for(lambda: running(server) == 1, "it runs")   # it goes on without its client …
        assert server.request("DELETE", f"/v1/streams/{stream_id}", headers=one).status == 200
        wait_for(lambda: running(server) == 0, "it is cancelled")
        assert server.get(f"/v1/streams/{stream_id}", headers=one).status == 404

        stream_id, _ = begin(server, "/v1/chat/completions", endless, 30000, one)
        assert server.get(f"/v1/streams/{stream_id}?from=0", headers=one).status == 400   # older events go


def test_a_stream_to_which_nobody_comes_back_ends_and_is_forgotten(binary):
    with with_window(binary, 1) as server:
        one = {"X-Api-Key": "one"}
        stream_id, _ = begin(server, "/v1/chat/completions", ENDLESS, 2000, one)

        def has_ended():
            text = server.get("/metrics", headers=one).body.decode()
            return re.search(r'^vllm:request_success_total{.*finished_reason="(abort|length)".*} 1$', text, re.M)

        def is_forgotten():
            time.sleep(1.5)   # who asks again within the window is somebody who comes back
            return server.get(f"/v1/streams/{stream_id}", headers=one).status == 404

        wait_for(has_ended, "it is cancelled, or on a quick machine over by then")
        wait_for(is_forgotten, "it is forgotten")


def test_other_streams_end_with_their_connection_and_have_no_ids(server):
    assert b"id: stream_" not in server.post("/v1/chat/completions", {**STORY, "max_tokens": 5}).body
    plain = server.post("/v1/chat/completions", {**STORY, "max_tokens": 5, "stream": False}, headers=RESUMABLE)
    assert plain.json_body()["choices"]


@pytest.mark.parametrize("path, headers, status", [
    ("/v1/streams/nothing", {}, 404), ("/v1/streams/nothing?from=x", {}, 400), ("/v1/streams/nothing?other=1", {}, 400)])
def test_bad_resumes_are_refused(server, path, headers, status):
    assert server.get(path, headers=headers).status == status
    assert server.post("/v1/chat/completions", STORY, headers={"Last-Event-ID": "garbage"}).status == 400
