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

import pytest
from gale_server import GaleServer, free_port
from installed_service import get
from killing import command_of, engine_of, held, is_there, wait_for
from notify_socket import NotifySocket
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


def says(server, text, seconds=120, other=None):
    """Waits until its log says this; the end of the other one's log is shown, too, where it does not."""
    try:
        wait_for(lambda: re.search(text, server.log_text()), text, seconds)
    except AssertionError as late:
        logs = "\nthe other one's:\n".join(one.log_text()[-2000:] for one in (server, other) if one)
        raise AssertionError(f"the log does not say {text}:\n{logs}") from late


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


class Balancer:
    """Looks at /ready of its servers ten times a second; whom it sends somewhere has a view of them that is fresh."""

    DRAIN_S = 15  # as --drain-delay: far above the age of a view, for a machine that does a lot else
    FRESH_S = 3

    def __init__(self, others):
        self.others, self.ready, self.looked_at = others, [], 0
        self.changes, self.is_over = threading.Condition(), threading.Event()
        self.thread = threading.Thread(target=self.probe)

    def probe(self):
        while not self.is_over.wait(0.1):
            begin = time.monotonic()
            ids = [(other.port, other.all[-1].process.pid) for other in self.others]
            ready = [one for one in ids if self.is_ready(one[0])]
            with self.changes:
                self.ready, self.looked_at = ready, begin
                self.changes.notify_all()

    @staticmethod
    def is_ready(port):
        try:
            return get(port, "/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def choose(self):
        with self.changes:
            self.changes.wait_for(lambda: self.ready and time.monotonic() - self.looked_at < self.FRESH_S)
            return self.ready[time.monotonic_ns() % len(self.ready)]

    def wait_for_all(self):
        """As seen by a look that has not begun yet."""
        now = time.monotonic()
        wait_for(lambda: self.looked_at > now and len(self.ready) == len(self.others), "all are ready", 120)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def test_a_drain_behind_a_balancer_loses_nothing(binary, script, tmp_path):
    others = [Servers(binary, script, tmp_path / str(i)) for i in range(2)]
    drain = "--drain-delay", Balancer.DRAIN_S
    try:
        for other in others:
            other.folder.mkdir()
            other.first(*drain)
        with Balancer(others) as balancer, Load(balancer.choose) as load:
            for other in others:
                balancer.wait_for_all()
                load.wait_for(NUM_REQUESTS // 4)
                other.all[-1].process.send_signal(signal.SIGTERM)
                assert ended(other.all[-1]) == 0
                other.first(*drain)
            balancer.wait_for_all()
            load.wait_for(max(0, NUM_REQUESTS - load.num_done))
        print(f"\ndrain: {load.num_done} requests, {len(load.failures)} failed")
        assert load.failures == [] and load.num_done >= NUM_REQUESTS
    finally:
        for other in others:
            other.stop()


class Stream:
    """A completion that is being read."""

    def __init__(self, port, max_tokens):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        body = {"prompt": [101, 102], "max_tokens": max_tokens, "ignore_eos": True, "stream": True}
        self.connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.response, self.raw = self.connection.getresponse(), b""

    def read_until(self, text):
        while text not in self.raw:
            piece = self.response.read1(4096)
            assert piece, f"it ends without {text}: {self.raw}"
            self.raw += piece

    def read_all(self):
        self.raw += self.response.read()
        self.connection.close()
        return self.raw


def test_a_stream_ends_where_it_began_while_others_go_to_the_new_one(servers):
    old = servers.first("--shutdown-timeout", 120)
    stream = Stream(servers.port, 4000)
    stream.read_until(b"data: ")
    with held(engine_of(old.process.pid)):
        new = servers.start("--takeover")
        says(new, "Application startup complete")
        assert ask(servers.port)[0] == 200 and old.process.poll() is None
        says(new, f"Took over from process {old.process.pid}")
    assert stream.response.status == 200 and stream.read_all().endswith(b"data: [DONE]\n\n")
    assert ended(old) == 0


@contextlib.contextmanager
def without_engine(servers, tmp_path, *flags):
    """A server that has taken over and whose engine does not get ready in this block."""
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps({"load_ms": 10_000, "default": {"tokens": [101], "repeat": 0}}))
    old = servers.first()
    new = servers.start("--takeover", "--takeover-engine", "after", *flags, script=slow)
    assert ended(old) == 0, "until then both accept, and who comes to the old one need not wait"
    wait_for(lambda: engine_of(new.process.pid), "the new engine begins", 120)
    with held(engine_of(new.process.pid)):
        yield new


def test_where_one_engine_fits_requests_wait_with_pings(servers, tmp_path):
    whole = []
    with without_engine(servers, tmp_path, "--ping-interval", 1) as new:
        assert get(servers.port, "/ready")[0] == 503
        waiting = threading.Thread(target=lambda: whole.append(ask(servers.port)))
        waiting.start()
        stream = Stream(servers.port, 4)
        stream.read_until(b": ping")
        assert stream.response.status == 200 and b"data: " not in stream.raw and not whole
    assert stream.read_all().endswith(b"data: [DONE]\n\n"), stream.raw
    waiting.join()
    assert whole[0][0] == 200
    log = new.log_text()
    assert log.index("Took over") < log.index("engine ready"), "its engine began when the old one had left"


def test_too_long_a_prompt_is_refused_while_it_waits_too(servers, tmp_path):
    with without_engine(servers, tmp_path):
        status, raw = ask(servers.port, 5000)
    assert status == 400 and json.loads(raw)["error"]["code"] == "context_length_exceeded"
    assert "5000" in json.loads(raw)["error"]["message"] and "4096" in json.loads(raw)["error"]["message"]


def test_while_it_waits_the_models_length_is_known(servers, tmp_path):
    def told():
        return json.loads(get(servers.port, "/v1/models")[1])["data"][0]["max_model_len"]

    with without_engine(servers, tmp_path):
        assert told() == 4096
    wait_for(lambda: get(servers.port, "/ready")[0] == 200, "its engine is ready", 120)
    assert told() == 4096


@pytest.fixture
def needs(tmp_path):
    """A script whose engine needs so many GiB of a card of 100 GiB that all of them share."""
    folder = tmp_path / "card"
    folder.mkdir()

    def make(gib):
        path = tmp_path / f"needs-{gib}.json"
        card = {"folder": str(folder), "total_bytes": 100 << 30, "needed_bytes": gib << 30}
        path.write_text(json.dumps({"card": card, "default": {"tokens": [101], "repeat": 0}}))
        return path

    return make


def test_without_memory_for_two_the_old_one_leaves_first(servers, needs):
    old = servers.first(script=needs(60))
    new = servers.start("--takeover", script=needs(70))
    says(new, "There is no memory for two engines")
    says(new, r"40.00 of 100.00 GiB of memory are free.* gives 60.00 GiB back when it leaves, which is enough")
    assert ended(old) == 0
    says(new, "Application startup complete")
    assert ask(servers.port)[0] == 200


def stays(old, new, message):
    """The new one says this and ends for want of memory; the old one goes on."""
    assert ended(new) == 4 and re.search(message, new.log_text()), new.log_text()[-2000:]
    says(old, "wanted to take over, has gone: this server goes on")
    assert ask(old.port)[0] == 200 and old.process.poll() is None


def test_one_that_is_to_begin_when_the_old_one_has_left_looks_first_whether_it_will_fit(servers, needs):
    old = servers.first(script=needs(60))
    new = servers.start("--takeover", "--takeover-engine", "after", script=needs(70))
    says(new, r"As --takeover-engine says, requests will wait .* 60.00 GiB that the running server gives back")
    assert ended(old) == 0
    says(new, "Application startup complete")
    assert ask(servers.port)[0] == 200


@pytest.mark.parametrize("when", ["auto", "after"])
def test_what_would_not_fit_alone_either_changes_nothing(servers, needs, when):
    old = servers.first(script=needs(60))
    new = servers.start("--takeover", "--takeover-engine", when, script=needs(120))
    stays(
        old, new, r"gives 60.00 GiB back when it leaves, and even then .* 100.00 of 100.00 .* 20.00 GiB are missing"
    )


@pytest.mark.parametrize("when", ["auto", "after"])
def test_a_model_that_would_not_fit_alone_either_changes_nothing(servers, when):
    flags = ("--runtime-dir", servers.folder / "run", "--engine-beat-timeout", 60, "--takeover")
    flags += ("--takeover-engine", when)
    for more in ((), ("--num-gpu-blocks-override", 10**9)):
        servers.all.append(GaleServer(servers.binary, *flags, *more, port=servers.port))
        if not more:
            servers.all[0].__enter__()
    stays(*servers.all, r"gives \d+\.\d\d GiB back when it leaves, and even then KV cache and workspace need")


def test_an_old_one_that_does_not_say_what_it_holds_is_not_sent_away(servers, needs):
    stays(servers.first(), servers.start("--takeover", script=needs(120)), "--takeover-engine after ends it first")


def test_a_model_that_is_broken_is_seen_before_the_old_one_is_sent_away(servers, needs, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"no such key": 1}')
    old = servers.first(script=needs(60))
    new = servers.start("--takeover", "--takeover-engine", "after", script=broken)
    assert ended(new) not in (0, 4) and "no such key" in new.log_text()
    assert ask(servers.port)[0] == 200 and old.process.poll() is None


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
    old = servers.first("--shutdown-timeout", 20, script=slow)  # so long there is to stop it before it has left
    stream = Stream(servers.port, 4000)
    stream.read_until(b"data: ")
    new = servers.start("--takeover", "--takeover-engine", "after")
    says(new, "Took over from process")
    old.process.send_signal(signal.SIGSTOP)
    says(new, "it hangs and is killed", other=old)
    assert ended(old) == -signal.SIGKILL
    stream.connection.close()
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
    with NotifySocket(tmp_path / "notify") as manager:
        old = servers.first(environment=manager.environment)
        old.process.send_signal(signal.SIGUSR2)
        new_pid = int(manager.wait_for("MAINPID=").removeprefix("MAINPID="))
        try:
            assert ended(old) == 0
            assert "STOPPING=1" not in manager.heard and ask(servers.port)[0] == 200
            command = command_of(new_pid)
            assert command[1] == b"serve" and command[2].startswith(b"--takeover")
        finally:
            os.kill(new_pid, signal.SIGTERM)
            wait_for(lambda: not is_there(new_pid), "the successor leaves", 120)


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
    wait_for(lambda: not is_there(new_pid), "the successor leaves", 120)
