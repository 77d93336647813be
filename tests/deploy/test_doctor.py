"""gale doctor: what it finds of a machine and of a server that runs, and an archive that holds no secret."""

import os
import re
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
from gale_server import NANO_FLASH, GaleServer, free_port
from killing import wait_for

KEY = "canary-key-9f2c"
PROMPT = "canary prompt about a secret garden"
PASSWORD = "canary-password-77"


def doctor(binary, *arguments, environment=None):
    return subprocess.run(
        [binary, "doctor", *map(str, arguments)], capture_output=True, text=True, timeout=300, env=environment
    )


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory):
    config = tmp_path_factory.mktemp("doctor") / "gale.toml"
    config.write_text(f'api-key = ["{KEY}"]\nmax-num-seqs = 7\n')
    with GaleServer(binary, "--config", config, "--log-level", "debug") as running:
        running.config = config
        answer = running.post(
            "/v1/completions", {"prompt": PROMPT, "max_tokens": 4}, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert answer.status == 200
        wait_for(lambda: "Application startup complete." in running.log_text(), "its log has what is looked for", 120)
        yield running


def test_an_archive_keeps_json_lines_and_no_others(binary, tmp_path):
    log = tmp_path / "mine.log"
    with GaleServer(binary, "--log-format", "json") as json_server:
        assert json_server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 4}).status == 200
    log.write_text(json_server.log_text() + f'{{"prompt": "{PROMPT}"}}\nrubbish {PROMPT}\n')
    told = doctor(binary, "--folder", tmp_path, "--log-file", log, "--bundle", tmp_path / "out.tgz")
    assert (tmp_path / "out.tgz").exists(), told.stderr
    with tarfile.open(tmp_path / "out.tgz") as archive:
        name = next(name for name in archive.getnames() if name.endswith("mine.log"))
        text = archive.extractfile(name).read().decode()
    assert text.startswith("(2 lines that are not gale's were left out)\n")
    assert '"completion_tokens":4' in text and PROMPT not in text


def test_it_says_who_holds_the_memory_of_a_server(binary, server):
    told = doctor(binary, "--url", server.base_url, "--api-key", KEY)
    assert told.returncode == 0, told.stdout + told.stderr
    numbers = re.search(
        r"engine: weights ([\d.]+) GiB, KV cache ([\d.]+) GiB \(\d+ bytes a token\), workspace [\d.]+ GiB",
        told.stdout,
    )
    assert numbers and float(numbers[2]) > 0, told.stdout
    assert re.search(r"KV cache: \d+ blocks of 16 tokens, \d+ % in use", told.stdout)
    assert re.search(rf"engine process {server.engine_pids()[0]}: [\d.]+ GiB", told.stdout), told.stdout
    assert re.search(rf"port {server.port} \(the API\): process {server.process.pid} \(gale serve\)", told.stdout)
    assert re.search(r"^ok  gale \d.*Linux \d", told.stdout, re.M) and "open files:" in told.stdout
    assert re.search(r"disk: [\d.]+ GiB free under /tmp", told.stdout) and "who holds most: " in told.stdout


def test_it_says_what_is_in_the_way(binary):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        told = doctor(binary, "--url", f"http://127.0.0.1:{port}", "--ui-port", free_port())
    assert re.search(rf"--  port {port} .* is taken by process {os.getpid()} ", told.stdout), told.stdout
    assert "no server was asked about its memory" in told.stdout
    assert "(the page) is free" in told.stdout


def test_a_server_with_a_key_says_that_it_wants_one(binary, server):
    assert "it wants a key: give one with --api-key" in doctor(binary, "--url", server.base_url).stdout


def test_few_files_are_worth_a_word(binary):
    told = subprocess.run(
        ["bash", "-c", f"ulimit -n 256; exec {binary} doctor"], capture_output=True, text=True, timeout=300
    )
    assert re.search(r"--  open files: 256 .*ulimit -n", told.stdout), told.stdout


def test_a_model_is_looked_at(binary, tmp_path):
    assert "tokenizer reads" in doctor(binary, NANO_FLASH).stdout
    (tmp_path / "config.json").write_text("{}")
    told = doctor(binary, tmp_path)
    assert told.returncode == 1 and "!!  " in told.stdout


def test_the_archive_holds_what_helps_and_no_secret(binary, server, tmp_path):
    folder = tmp_path / "service"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "gale.log").write_text(
        server.log_text() + f"something else printed {PROMPT}\n"
        f"info 11-27 07:00:00.000 [front] a client sent Authorization: Bearer {KEY}\n"
        "info 11-27 07:00:01.000 [front] upstream http://joe:pass-in-url@host/ and api_key=other-canary\n"
    )
    (folder / "supervisord.conf").write_text(
        f'[program:gale]\ncommand=/x/gale serve --api-key={KEY} /m\nenvironment=GALE_PASSWORD="{PASSWORD}"\n'
    )
    archive = tmp_path / "support.tar.gz"
    environment = {**os.environ, "GALE_PASSWORD": PASSWORD}
    told = doctor(
        *(binary, "--url", server.base_url, "--api-key", KEY, "--config", server.config),
        *("--folder", folder, "--bundle", archive, "--log-file", server.log.name),
        environment=environment,
    )
    assert told.returncode == 0 and f"wrote {archive}" in told.stdout, told.stdout + told.stderr
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as opened:
        files = {Path(one.name).name: opened.extractfile(one).read().decode() for one in opened if one.isfile()}
    whole = "\n".join(files.values())
    for secret in (KEY, PROMPT, "secret garden", PASSWORD, "pass-in-url", "other-canary"):
        assert secret not in whole, [name for name, text in files.items() if secret in text]
    assert "vllm:kv_cache_usage_perc" in files["metrics.txt"] and '"engine"' in files["server_info.json"]
    settings = files["settings-of-file.txt"]
    assert "--max-num-seqs=7" in settings and "--api-key=[removed]" in settings
    assert "settings-of-server.txt" in files and "GALE_PASSWORD\n" in files["environment.txt"]
    logs = [text for name, text in files.items() if name.startswith("log-")]
    assert len(logs) == 2 and all("Application startup complete." in text for text in logs)
    assert any("1 lines that are not gale's were left out" in text for text in logs)
    assert "gale serve" in files["supervisord.conf"] and "ok  gale" in files["doctor.txt"]


def test_an_archive_that_cannot_be_written_is_an_error(binary):
    told = doctor(binary, "--bundle", "/nowhere/at/all.tar.gz")
    assert told.returncode == 1 and "cannot write /nowhere/at/all.tar.gz" in told.stderr
