"""Processes: start errors, the death of the engine, draining, clients that leave."""

import json
import os
import re
import signal
import socket
import subprocess
import threading

from gale_server import NANO_FLASH, GaleServer, free_port
from killing import is_there, wait_for
from stream_checker import check_chat_stream

STORY = {"messages": [{"role": "user", "content": "Tell me about gale"}], "max_tokens": 300, "ignore_eos": True, "stream": True,
         "temperature": 0.8, "seed": 11}


def run(binary, *arguments):
    return subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, timeout=300)


def one_line(result, *needles):
    text = result.stderr.strip()
    for needle in needles:
        assert str(needle) in text, text
    return text


def test_a_model_that_is_not_there(binary):
    result = run(binary, "serve", "no/such/model")
    assert result.returncode == 3
    one_line(result, "no/such/model")


def test_a_broken_model_folder(binary, tmp_path):
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((NANO_FLASH / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["LlamaForCausalLM"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run(binary, "serve", tmp_path, "--host", "127.0.0.1", "--port", free_port())
    assert result.returncode == 3
    one_line(result, "LlamaForCausalLM", "Glm4MoeLiteForCausalLM")


def test_an_unknown_flag_suggests_the_nearest(binary):
    result = run(binary, "serve", NANO_FLASH, "--max-model-length", "100")
    assert result.returncode == 2
    one_line(result, "--max-model-length", "--max-model-len")


def test_a_port_in_use(binary):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run(binary, "serve", NANO_FLASH, "--host", "127.0.0.1", "--port", port)
    assert result.returncode == 5
    one_line(result, port)


def stream_of(server, body):
    return check_chat_stream(server.post("/v1/chat/completions", body).body, num_choices=body.get("n", 1))


def said(stream):
    return [(c.reasoning, c.content, c.finish_reason) for _, c in sorted(stream.choices.items())]


def num_told(server):
    """Tokens that clients were given so far."""
    return float(re.search(rb"^vllm:generation_tokens_total\S* (\S+)", server.get("/metrics").body, re.M)[1])


def test_a_killed_engine_is_only_a_pause(binary):
    with GaleServer(binary, "--max-num-seqs", "8") as server:
        bodies = [{**STORY, "seed": seed, "temperature": 0 if seed % 3 == 0 else 0.8, "n": 1 + seed % 2} for seed in range(12)]
        undisturbed = [said(stream_of(server, body)) for body in bodies]
        results = [None] * len(bodies)

        def client(i):
            results[i] = said(stream_of(server, bodies[i]))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        kills = 0
        for _ in range(3):
            before = num_told(server)
            wait_for(lambda: num_told(server) > before or not any(thread.is_alive() for thread in threads), "tokens")
            if any(thread.is_alive() for thread in threads):
                for pid in server.engine_pids():
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        for thread in threads:
            thread.join()
        assert kills >= 1
        assert results == undisturbed
        assert server.get("/health").status == 200


def test_sigterm_lets_streams_finish_and_refuses_new_ones(binary):
    server = GaleServer(binary, "--shutdown-timeout", 300)
    with server:
        results = []
        thread = threading.Thread(target=lambda: results.append(stream_of(server, STORY)))
        thread.start()
        wait_for(lambda: num_told(server) > 0, "the first token")
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        assert results and results[0].error is None and results[0].choices[0].finish_reason == "length"
        assert server.process.wait(400) == 0


def test_the_engine_leaves_with_its_front(binary):
    server = GaleServer(binary)
    with server:
        pids = server.engine_pids()
        assert pids
        server.process.kill()
        server.process.wait(120)
        wait_for(lambda: not any(map(is_there, pids)), "its engine leaves")


def running(server):
    lines = server.get("/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines
               if line.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting{")))


def test_a_client_that_leaves_frees_its_slot(server):
    for stream in (True, False):
        body = json.dumps({**STORY, "max_tokens": 3000, "stream": stream}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            wait_for(lambda: running(server) > 0, "it has begun")
        wait_for(lambda: running(server) == 0, "its slot is free")
