"""A gale takes the place of another one: no request is lost, and what goes wrong costs the running one nothing."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from gale_server import GaleServer, free_port
from installed_service import get
from killing import wait_for
from upgrade_load import Load

NUM_REQUESTS = 5000


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.json"
    path.write_text(
        json.dumps(
            {
                "vocab_size": 8192,
                "max_model_len": 4096,
                "step_ms": 1,
                "load_ms": 300,
                "default": {"tokens": [101], "repeat": 0},
            }
        )
    )
    return path


class Servers:
    """Gales on one port; whatever still runs at the end is stopped."""

    def __init__(self, binary, script, folder):
        self.binary, self.script, self.folder, self.port, self.all = binary, script, folder, free_port(), []

    def start(self, *flags, environment=None, script=None):
        """Not waited for."""
        fixed = ("--scripted", script or self.script, "--runtime-dir", self.folder / "run", "--no-access-log")
        limits = ("--max-num-seqs", 64, "--engine-beat-timeout", 60, "--max-num-queued-reqs", 1000)
        server = GaleServer(self.binary, *fixed, *limits, *flags, port=self.port, environment=environment)
        self.all.append(server)
        return server

    def first(self, *flags, **more):
        return self.start(*flags, **more).__enter__()

    def stop(self):
        for server in self.all:
            server.process.send_signal(signal.SIGCONT)
            server.stop()

    @property
    def door(self):
        return self.folder / "run" / f"serve-{self.port}.sock"


@pytest.fixture
def servers(binary, script, tmp_path):
    made = Servers(binary, script, tmp_path)
    try:
        yield made
    finally:
        made.stop()


def says(server, text, seconds=120):
    wait_for(lambda: re.search(text, server.log_text()), f"the log says {text}:\n{server.log_text()[-2000:]}", seconds)


def ended(server, seconds=120):
    """Its exit code, once it has left."""
    return server.process.wait(seconds)


def ask(port, max_tokens=4, **more):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = {"prompt": [101, 102], "max_tokens": max_tokens, "ignore_eos": True, **more}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, raw


@pytest.mark.parametrize("when, turns", [("beside", 4), ("after", 2)])
def test_upgrades_under_load_lose_nothing(servers, when, turns):
    running = servers.first()
    with Load(lambda: (servers.port, 0)) as load:
        for _ in range(turns):
            load.wait_for(NUM_REQUESTS // 4 // turns)
            new = servers.start("--takeover", "--takeover-engine", when)
            says(new, "Application startup complete")
            assert ended(running) == 0, running.log_text()[-2000:]
            assert "requests were cut" not in running.log_text()
            running = new
            load.wait_for(NUM_REQUESTS // 4 // turns)
        load.wait_for(max(0, NUM_REQUESTS - load.num_done))
    print(f"\n{when}: {load.num_done} requests over {turns} upgrades, {len(load.failures)} failed")
    assert load.failures == [] and load.num_done >= NUM_REQUESTS


def test_a_drain_behind_a_balancer_loses_nothing(servers, binary, script, tmp_path):
    """Two servers; who asks looks at /ready every now and then, as balancers do."""
    others = [Servers(binary, script, tmp_path / str(i)) for i in range(2)]
    for other in others:
        other.folder.mkdir()
    ready, is_over = [], threading.Event()

    def probe():
        while not is_over.wait(0.1):
            ready[:] = [(other.port, other.all[-1].process.pid) for other in others if is_ready(other.port)]

    def choose():
        now = list(ready)
        return now[time.monotonic_ns() % len(now)]

    def is_ready(port):
        try:
            return get(port, "/ready")[0] == 200
        except OSError:
            return False

    running = [other.first("--drain-delay", 3) for other in others]
    prober = threading.Thread(target=probe)
    prober.start()
    try:
        wait_for(lambda: len(ready) == 2, "both are ready", 120)
        with Load(choose) as load:
            for i in (0, 1):
                load.wait_for(NUM_REQUESTS // 4)
                running[i].process.send_signal(signal.SIGTERM)
                assert ended(running[i]) == 0
                running[i] = others[i].first("--drain-delay", 3)
                wait_for(lambda: len(ready) == 2, "both are ready again", 120)
            load.wait_for(max(0, NUM_REQUESTS - load.num_done))
        print(f"\ndrain: {load.num_done} requests, {len(load.failures)} failed")
        assert load.failures == [] and load.num_done >= NUM_REQUESTS
    finally:
        is_over.set()
        prober.join()
        for other in others:
            other.stop()


def test_a_stream_ends_where_it_began_while_others_go_to_the_new_one(servers, tmp_path):
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"step_ms": 20, "default": {"tokens": [101], "repeat": 0}}))
    old = servers.first(script=slow)
    answers = []
    stream = threading.Thread(target=lambda: answers.append(ask(servers.port, 200, stream=True)))
    stream.start()
    time.sleep(0.3)
    new = servers.start("--takeover")
    says(new, "Application startup complete")
    assert ask(servers.port)[0] == 200 and old.process.poll() is None
    assert b"Took over from process %d" % old.process.pid in new.log_text().encode()
    stream.join()
    assert answers[0][0] == 200 and answers[0][1].endswith(b"data: [DONE]\n\n")
    assert ended(old) == 0


def test_where_one_engine_fits_requests_wait_with_pings(servers, tmp_path):
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"load_ms": 5000, "default": {"tokens": [101], "repeat": 0}}))
    old = servers.first()
    new = servers.start("--takeover", "--takeover-engine", "after", "--ping-interval", 1, script=slow)
    assert ended(old) == 0, "until then both accept, and who comes to the old one need not wait"
    assert get(servers.port, "/ready")[0] == 503
    whole = []
    waiting = threading.Thread(target=lambda: whole.append(ask(servers.port)))
    waiting.start()
    status, raw = ask(servers.port, stream=True)
    assert status == 200 and raw.endswith(b"data: [DONE]\n\n"), raw
    assert raw.index(b": ping") < raw.index(b"data: "), raw
    waiting.join()
    assert whole[0][0] == 200
    log = new.log_text()
    assert log.index("Took over") < log.index("engine ready"), "its engine began when the old one had left"


def test_too_long_a_prompt_is_refused_while_it_waits_too(servers, tmp_path):
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"load_ms": 2000, "default": {"tokens": [101], "repeat": 0}}))
    servers.first()
    new = servers.start("--takeover", "--takeover-engine", "after", script=slow)
    says(new, "Took over from process")
    status, raw = ask(servers.port, 5000)
    assert status == 400 and json.loads(raw)["error"]["code"] == "context_length_exceeded"
    assert "5000" in json.loads(raw)["error"]["message"] and "4096" in json.loads(raw)["error"]["message"]


def test_without_memory_for_two_the_old_one_leaves_first(servers):
    """What would not fit alone either shows that the second try was made."""
    old = servers.first()
    flags = ("--runtime-dir", servers.folder / "run", "--takeover", "--num-gpu-blocks-override", 10**9)
    new = GaleServer(servers.binary, *flags, port=servers.port)
    servers.all.append(new)
    says(new, "There is no memory for two engines")
    assert ended(old) == 0
    assert ended(new) == 4


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_with_nobody_to_take_over_from_it_just_serves(servers):
    only = servers.first("--takeover")
    assert "No gale on port" in only.log_text()
    only.process.kill()
    only.process.wait()
    assert servers.door.exists(), "a killed server leaves its socket"
    again = servers.first("--takeover")
    assert "No gale on port" in again.log_text() and ask(servers.port)[0] == 200
    again.stop()
    assert not servers.door.exists()


@pytest.mark.parametrize("when", ["beside", "auto"])
def test_a_new_one_that_cannot_load_changes_nothing(servers, when, tmp_path):
    old = servers.first()
    broken = tmp_path / "broken.json"
    broken.write_text('{"no such key": 1}')
    new = servers.start("--takeover", "--takeover-engine", when, script=broken)
    assert ended(new) not in (0, 4)
    assert ask(servers.port)[0] == 200 and old.process.poll() is None
    says(old, "wanted to take over, has gone: this server goes on")
    next_one = servers.start("--takeover")
    says(next_one, "Application startup complete")
    assert ended(old) == 0 and ask(servers.port)[0] == 200


def test_a_new_one_that_is_killed_while_it_loads_changes_nothing(servers, tmp_path):
    old = servers.first()
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"load_ms": 60_000, "default": {"tokens": [101], "repeat": 0}}))
    new = servers.start("--takeover", script=slow)
    says(old, "is going to take over")
    second = servers.start("--takeover")
    assert ended(second) == 1 and "is taking over already" in second.log_text()
    new.process.kill()
    says(old, "has gone: this server goes on")
    assert ask(servers.port)[0] == 200 and old.process.poll() is None


def test_an_old_one_that_hangs_is_left_alone(servers):
    old = servers.first()
    old.process.send_signal(signal.SIGSTOP)
    new = servers.start("--takeover")
    assert ended(new) == 1 and "does not answer" in new.log_text()
    old.process.send_signal(signal.SIGCONT)
    assert ask(servers.port)[0] == 200


def test_an_old_one_that_hangs_while_it_leaves_is_ended(servers, tmp_path):
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"step_ms": 50, "default": {"tokens": [101], "repeat": 0}}))
    old = servers.first("--shutdown-timeout", 1, script=slow)
    with contextlib.closing(socket.create_connection(("127.0.0.1", servers.port))) as held:
        body = json.dumps({"prompt": [1, 2], "max_tokens": 1000, "ignore_eos": True, "stream": True})
        held.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        held.recv(100)
        new = servers.start("--takeover", "--takeover-engine", "after")
        says(new, "Took over from process")
        old.process.send_signal(signal.SIGSTOP)
        says(new, "it hangs and is killed")
    assert ended(old) == -signal.SIGKILL
    says(new, "Application startup complete")
    assert ask(servers.port)[0] == 200


class FakeServer:
    """A door with somebody of another kind behind it."""

    def __init__(self, path, answer):
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(path))
        self.listening.listen()
        self.answer = answer
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        caller, _ = self.listening.accept()
        with caller:
            assert json.loads(caller.recv(4096))["takeover"] == 1
            caller.send(self.answer)
            caller.recv(4096)

    def close(self):
        self.thread.join()
        self.listening.close()


@pytest.mark.parametrize(
    "answer, message",
    [
        (b'{"takeover": 2, "version": "9.0"}', "hands over by version 2, this one by 1"),
        (b'{"takeover": 1, "error": "no"}', "does not hand over: no"),
        (b'{"takeover": "x"}', "hands over by version 0"),
        (b"nonsense", "no message"),
        (b'{"takeover": 1, "host": "0.0.0.0"}', "an address cannot change"),
    ],
)
def test_servers_of_other_versions_and_minds_are_told_apart(servers, answer, message):
    servers.door.parent.mkdir(mode=0o700)
    fake = FakeServer(servers.door, answer)
    new = servers.start("--takeover")
    assert ended(new) != 0 and message in new.log_text()
    fake.close()


def test_a_server_of_another_user_is_not_taken_over(servers):
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's socket")
    servers.door.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs:
        theirs.bind(str(servers.door))
        os.chown(servers.door, 65534, 65534)
        new = servers.start("--takeover")
        assert ended(new) == 1 and "belongs to user 65534" in new.log_text()
    servers.door.unlink()
    os.chmod(servers.door.parent, 0o777)
    new = servers.start("--takeover")
    assert ended(new) == 1 and "nobody else may write in" in new.log_text()


def test_other_users_cannot_take_over(servers):
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    old = servers.first()
    assert servers.door.stat().st_mode & 0o777 == 0o600 and servers.door.parent.stat().st_mode & 0o777 == 0o700
    for folder in [servers.door, *servers.door.parents[:-2]]:
        with contextlib.suppress(OSError):
            os.chmod(folder, folder.stat().st_mode | 0o077)  # even so
    knock = (
        "import os, socket, sys\nos.setuid(65534)\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(sys.argv[1])\ns.send(b'{\"takeover\": 1}')\nprint(s.recv(4096))"
    )
    said = subprocess.run(["python3", "-c", knock, str(servers.door)], capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() in ("b''", "") and "takeover" not in said.stdout, said
    says(old, "user 65534 may not take over")


def test_a_port_that_something_else_has_is_busy(servers):
    with socket.socket() as other:
        other.bind(("127.0.0.1", servers.port))
        other.listen()
        new = servers.start("--takeover")
        assert ended(new) == 5 and "is in use" in new.log_text()


# ---- under managers --------------------------------------------------------------------------------------------------


def test_a_signal_brings_the_successor_and_the_manager_hears_its_id(servers, tmp_path):
    """As `systemctl reload` does it: the main process starts the next one and says who that is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        old = servers.first(environment={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        old.process.send_signal(signal.SIGUSR2)
        new_pid = None
        while new_pid is None:
            heard = manager.recv(100).decode()
            assert heard in ("READY=1", "WATCHDOG=1") or heard.startswith("MAINPID="), heard
            found = re.match(r"MAINPID=(\d+)", heard)
            new_pid = found and int(found[1])
        try:
            assert ended(old) == 0
            assert "STOPPING" not in old.log_text() and ask(servers.port)[0] == 200
            command = Path(f"/proc/{new_pid}/cmdline").read_bytes().split(b"\0")
            assert command[1] == b"serve" and command[2].startswith(b"--takeover")
        finally:
            os.kill(new_pid, signal.SIGTERM)
            wait_for(lambda: not Path(f"/proc/{new_pid}").exists() or is_zombie(new_pid), "the successor leaves", 120)


def is_zombie(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_a_successor_that_fails_is_noticed_and_the_next_may_come(servers, script):
    old = servers.first()
    whole = script.read_text()
    script.write_text("{")
    old.process.send_signal(signal.SIGUSR2)
    says(old, "which was to take over, exited with code")
    assert ask(servers.port)[0] == 200
    script.write_text(whole)
    old.process.send_signal(signal.SIGUSR2)
    assert ended(old) == 0
    new_pid = int(re.findall(r"Process (\d+) took over", old.log_text())[-1])
    assert ask(servers.port)[0] == 200
    os.kill(new_pid, signal.SIGTERM)
    wait_for(lambda: is_zombie(new_pid), "the successor leaves", 120)
