"""What is around the models: routes, errors, health, metrics, limits, keys."""

import hashlib
import json
import signal
import socket
import time

import pytest
from gale_server import GaleServer
from killing import wait_for
from metrics import metrics_of, metrics_when
from prometheus_client.parser import text_string_to_metric_families

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def error_of(response, status, code=None):
    assert response.status == status, response.body
    error = response.json_body()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code, error
    return error


def test_unknown_route_and_wrong_method(server):
    error_of(server.get("/v1/nothing"), 404)
    response = server.get("/v1/completions")
    error_of(response, 405)
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff", b'{"messages": NaN}', b'{"a":1,"a":2}', b"[" * 100000, b"{}{}"])
def test_bodies_that_are_no_request(server, body):
    error_of(server.request("POST", "/v1/chat/completions", body), 400)


def test_wrong_types_everywhere_are_400(server):
    for key in ("messages", "model", "max_tokens", "temperature", "stop", "stream", "n", "seed", "tools", "logit_bias"):
        for value in ({"x": {}}, [[]], 1e308, "x", True, [None], {"a": [1, {"b": None}]}):
            response = server.post("/v1/chat/completions", {**CHAT, key: value})
            assert response.status in (200, 400, 404), (key, value, response.body)


def test_a_large_body_is_refused_and_nobody_is_hurt(server):
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 10_000_000}]}).encode()
    assert server.request("POST", "/v1/chat/completions", body).status == 400
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]
    assert server.post("/v1/chat/completions", CHAT).status == 200


def test_other_content_types_are_415(server):
    error_of(server.post("/v1/chat/completions", CHAT, headers={"Content-Type": "text/plain"}), 415)


def test_health_and_version(server):
    for path in ("/health", "/live", "/ready"):
        assert server.get(path).status == 200
    assert server.get("/version").json_body()["version"]


def test_request_id_is_echoed_or_made(server):
    assert server.get("/v1/models", headers={"X-Request-Id": "abc-123"}).headers["X-Request-Id"] == "abc-123"
    assert server.get("/v1/models").headers["X-Request-Id"]
    assert server.get("/v1/models", headers={"X-Request-Id": "bad id\x7f"}).headers["X-Request-Id"] != "bad id\x7f"




def test_metrics_count_the_work(server):
    before = metrics_of(server)
    usage = server.post("/v1/chat/completions", CHAT).json_body()["usage"]
    after = metrics_when(server, lambda now: now["vllm:num_requests_running"] == 0)
    def grown(name): return after[name] - before.get(name, 0)
    assert grown("vllm:generation_tokens_total") == usage["completion_tokens"] == 4
    assert grown("vllm:prompt_tokens_total") == usage["prompt_tokens"]
    assert grown("vllm:time_to_first_token_seconds_count") == 1
    times = ("queue", "prefill", "decode", "inference")
    assert [grown(f"vllm:request_{name}_time_seconds_count") for name in times] == [1] * 4
    queue, prefill, decode, inference = (grown(f"vllm:request_{name}_time_seconds_sum") for name in times)
    assert queue >= 0 and prefill > 0 and decode > 0 and inference == pytest.approx(prefill + decode)
    assert grown("vllm:e2e_request_latency_seconds_count") == 1
    assert queue + inference <= grown("vllm:e2e_request_latency_seconds_sum")
    assert grown("parser_time_seconds_count") == 1 and after["faults_injected_total"] == 0
    assert after["vllm:num_requests_running"] == 0 and 0 <= after["vllm:kv_cache_usage_perc"] <= 1


def test_keys_guard_all_but_the_probes(binary):
    with GaleServer(binary, "--api-key", "one", "--api-key", "two") as guarded:
        for path in ("/health", "/live", "/ready"):
            assert guarded.get(path).status == 200
        for path in ("/v1/models", "/metrics", "/version", "/nothing"):
            response = guarded.get(path)
            assert response.status in (401, 404), path
        response = guarded.post("/v1/chat/completions", CHAT)
        error_of(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"
        error_of(guarded.post("/v1/chat/completions", CHAT, headers={"Authorization": "Bearer no"}), 401)
        for headers in ({"Authorization": "Bearer one"}, {"X-Api-Key": "two"}):
            assert guarded.post("/v1/chat/completions", CHAT, headers=headers).status == 200


def test_who_tries_many_keys_is_refused_unread_and_hurts_nobody_who_has_one(binary):
    with GaleServer(binary, "--api-key", "one", "--api-key", "two", "--max-wrong-keys-per-minute", "2") as guarded:

        def ask(key):
            return guarded.get("/v1/models", headers={"X-Api-Key": key})

        assert ask("one").status == 200
        refused = None
        for i in range(200):  # a slow machine wins tries back meanwhile
            refused = ask(f"guess {i}")
            if refused.status == 429:
                break
            error_of(refused, 401)
        error_of(refused, 429)
        assert int(refused.headers["Retry-After"]) == 30
        assert ask("one").status == 200, "it opened for this address before"
        assert ask("two").status in (200, 429), "unread, unless a try was won back"
        assert guarded.get("/v1/models").status == 401, "who brings no key guesses none"
        log = guarded.log_text()
        assert "brings too many wrong API keys" in log and "guess" not in log


def test_a_key_with_a_rate_hears_what_it_has_left(binary):
    with GaleServer(binary, "--api-key", "one", "--api-key", "two", "--requests-per-minute-per-key", "2") as limited:

        def answer(key):
            return limited.post("/v1/chat/completions", CHAT, headers={"X-Api-Key": key})

        first = answer("one").headers
        assert first["X-RateLimit-Limit-Requests"] == "2" and first["X-RateLimit-Remaining-Requests"] in ("0", "1")
        assert 1 <= int(first["X-RateLimit-Reset-Requests"].removesuffix("s")) <= 60
        for _ in range(100):  # a slow machine gives the key new requests meanwhile
            refused = answer("one")
            if refused.status == 429:
                break
        assert refused.status == 429 and refused.headers["X-RateLimit-Remaining-Requests"] == "0"
        assert answer("two").status == 200
        assert answer("three").status == 401 and "X-RateLimit-Limit-Requests" not in answer("three").headers


def test_server_info_load_and_ping(server):
    info = server.get("/server_info").json_body()
    assert info["model"] == "nano-flash" and info["engine"]["num_blocks"] > 0 and info["limits"]["max_model_len"] > 0
    assert "/" not in server.get("/server_info").body.decode()        # no paths
    # An answer counts until its last byte is sent, which may be when its client has it already.
    wait_for(lambda: server.get("/load").json_body() == {"server_load": 0}, "nothing is answered any more")
    assert server.get("/ping").status == 200


METRICS = """num_requests_running num_requests_waiting num_requests_waiting_by_reason kv_cache_usage_perc prefix_cache_queries_total
    prefix_cache_hits_total num_preemptions_total prompt_tokens_total prompt_tokens_by_source_total prompt_tokens_cached_total
    generation_tokens_total cache_config_info request_success_total request_prompt_tokens_count request_generation_tokens_count
    request_max_num_generation_tokens_count request_params_n_count request_params_max_tokens_count time_to_first_token_seconds_count
    inter_token_latency_seconds_count request_time_per_output_token_seconds_count e2e_request_latency_seconds_count
    request_queue_time_seconds_count request_prefill_time_seconds_count request_decode_time_seconds_count
    request_inference_time_seconds_count iteration_tokens_total_count request_prefill_kv_computed_tokens_count mm_cache_queries_total mm_cache_hits_total
    spec_decode_num_drafts_total spec_decode_num_draft_tokens_total spec_decode_num_accepted_tokens_total
    spec_decode_num_accepted_tokens_per_pos_total engine_sleep_state"""


def test_metrics_have_the_names_that_dashboards_ask_for(server):
    server.post("/v1/chat/completions", CHAT)
    text = server.get("/metrics").body.decode()
    samples = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    for name in METRICS.split():
        assert {"engine", "model_name"} <= set(samples["vllm:" + name].labels), name
    for name in ("process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_start_time_seconds"):
        assert samples[name].value > 0, name
    assert 0 < samples["process_start_time_seconds"].value <= time.time()


LATENCIES = ".3 .5 .8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680"
GAPS = ".001 .002 .003 .005 .0075 .01 .025 .05 .075 .1 .15 .2 .3 .4 .5 .75 1 2.5 5 7.5 10 20 40 80"
BUCKETS = {
    "time_to_first_token_seconds": ".001 .005 .01 .02 .04 .06 .08 .1 .25 .5 .75 1 2.5 5 7.5 10 20 40 80 160 640 2560",
    "inter_token_latency_seconds": GAPS, "request_time_per_output_token_seconds": GAPS,
    "e2e_request_latency_seconds": LATENCIES, "request_decode_time_seconds": LATENCIES,
    "request_queue_time_seconds": LATENCIES, "request_prefill_time_seconds": LATENCIES, "request_inference_time_seconds": LATENCIES,
    "iteration_tokens_total": "1 8 16 32 64 128 256 512 1024 2048 4096 8192 16384",
    "request_prompt_tokens": "1 2 5 10 20 50 100 200 500 1000 2000 5000 10000 20000 50000 100000 200000",
}


def test_metrics_have_the_buckets_that_dashboards_ask_for(server):
    server.post("/v1/chat/completions", CHAT)
    families = text_string_to_metric_families(server.get("/metrics").body.decode())
    found = {}
    for sample in (sample for family in families for sample in family.samples if "le" in sample.labels):
        found.setdefault(sample.name, []).append(float(sample.labels["le"]))
    for name, bounds in BUCKETS.items():
        assert found[f"vllm:{name}_bucket"] == [*map(float, bounds.split()), float("inf")], name


def test_keys_of_a_file_are_read_again_at_sighup(binary, tmp_path):
    def line(key): return hashlib.sha256(key.encode()).hexdigest() + " somebody\n"
    keys = tmp_path / "keys"
    keys.write_text("# two\n" + line("one") + line("two"))
    limit = ("--max-wrong-keys-per-minute", 0)   # they are tried as often as it takes
    with GaleServer(binary, "--api-key-file", keys, "--api-key", "fixed", *limit) as guarded:
        def status(key): return guarded.get("/v1/models", headers={"X-Api-Key": key}).status
        assert [status(key) for key in ("one", "two", "fixed", "three", "")] == [200, 200, 200, 401, 401]
        for text, expected in ((line("three"), [401, 401, 200, 200]), ("garbage\n", [401, 401, 200, 200]), ("", [401, 401, 200, 401])):
            keys.write_text(text)
            guarded.process.send_signal(signal.SIGHUP)
            wait_for(lambda: [status(key) for key in ("one", "two", "fixed", "three")] == expected, f"{text} holds")
            if text == "garbage\n":
                wait_for(lambda: "line 1 of the key file" in guarded.log_text(), "what is wrong is told")
                assert [status(key) for key in ("one", "three")] == [401, 200]
        assert hashlib.sha256(b"one").hexdigest() not in guarded.log_text()
