"""Under a systemd that runs: booted in a container over this machine's own files, which stay as they are."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from gale_server import NANO_FLASH, ROOT, ask, free_port
from installed_service import get
from killing import children, command_of, held, is_there, wait_for
from upgrade_load import Load

PATIENCE_S = 120  # of a machine that does a lot else
BACK_S = 3  # what is promised
WATCHDOG_S = 30  # as in the unit
ENCRYPTED = ROOT / "tests" / "ui" / "data" / "encrypted.pdf"

pytestmark = pytest.mark.full


class Machine:
    """A systemd that is process 1 of its own namespaces, but has this machine's network. What is written there is gone
    at the end: it lies in a layer of memory over the root folder."""

    def __init__(self, folder):
        self.layers, self.log = folder / "layers", folder / "log"
        self.layers.mkdir()
        self.process = None

    def start(self):
        self.mount("-t", "tmpfs", "none", self.layers)
        for name in ("upper", "work", "root"):
            (self.layers / name).mkdir()
        layers = f"lowerdir=/,upperdir={self.layers}/upper,workdir={self.layers}/work"
        self.mount("-t", "overlay", "-o", layers, "overlay", self.layers / "root")
        how = "--boot --register=no --keep-unit --console=pipe --link-journal=no --machine=gale-test".split()
        command = ["systemd-nspawn", "-D", self.layers / "root", *how, "systemd.unit=basic.target"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.is_up() or self.process.poll() is not None, "systemd has booted", PATIENCE_S)
        if self.process.poll() is not None:
            raise RuntimeError(f"systemd-nspawn: {self.log.read_text().strip()}")

    @staticmethod
    def mount(*arguments):
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())

    @property
    def leader(self):
        """Of systemd, as this machine numbers processes."""
        return next(iter(children(self.process.pid)), None)

    def is_up(self):
        return self.leader is not None and self.do("systemctl", "is-active", "basic.target").stdout == "active\n"

    def do(self, *command):
        entered = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-p", "--", *command]
        return subprocess.run([*map(str, entered)], capture_output=True, text=True, timeout=2 * PATIENCE_S)

    def show(self, unit, what):
        return self.do("systemctl", "show", "-P", what, unit).stdout.strip()

    def main_process(self, unit):
        """As this machine numbers it: the one among all whose id in there is the unit's."""
        wanted = self.show(unit, "MainPID")
        for path in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if path.isdigit() and wanted != "0" and wanted == self.id_inside(path):
                    return int(path)
        return None

    def id_inside(self, pid):
        if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{self.leader}/ns/pid"):
            return None
        with open(f"/proc/{pid}/status") as status:
            return next(line.split()[-1] for line in status if line.startswith("NSpid:"))

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()  # its process 1, and with that everything in there, ends with it
            self.process.wait(PATIENCE_S)
        for folder in (self.layers / "root", self.layers):
            subprocess.run(["umount", "-l", folder], capture_output=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("needs root and the package systemd-container")
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        try:
            made.start()
        except RuntimeError as trouble:
            pytest.skip(f"systemd does not boot in a container here: {trouble}")
        yield made
    finally:
        made.stop()


class Service:
    def __init__(self, machine, binary):
        self.machine, self.port, self.ui_port = machine, free_port(), free_port()
        there = machine.layers / "root" / "opt" / "gale"
        shutil.copytree(NANO_FLASH, there / "nano-flash")
        shutil.copy(binary, there / "gale")

    def do(self, *arguments):
        return self.machine.do("/opt/gale/gale", "service", *arguments)

    def install(self):
        ports = "--port", self.port, "--ui-port", self.ui_port
        return self.do("install", "--model", "/opt/gale/nano-flash", *ports)

    @property
    def front(self):
        return self.machine.main_process("gale.service")

    @property
    def page(self):
        return self.machine.main_process("gale-ui.service")

    def is_ready(self):
        return get(self.port, "/ready")[0] == 200


@pytest.fixture(scope="module")
def service(machine, binary):
    made = Service(machine, binary)
    told = made.install()
    assert told.returncode == 0, told.stdout + told.stderr + made.do("logs").stdout
    assert made.is_ready(), "systemctl start waits for READY=1"
    wait_for(lambda: get(made.ui_port)[0] == 200, "the page answers", PATIENCE_S)
    return made


def test_both_run_as_a_user_of_their_own_and_nothing_failed(machine, service):
    assert machine.show("gale.service", "Type") == "notify" and service.do("status").returncode == 0
    for pid in (service.front, service.page):
        assert os.stat(f"/proc/{pid}").st_uid not in (0, os.geteuid())
    assert machine.do("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    wait_for(lambda: "Application startup complete." in service.do("logs").stdout, "the journal has it", PATIENCE_S)


def test_what_they_may_call_is_limited_and_enough(service):
    """The page's child that reads a PDF, and the front's that compiles a grammar, live under the same filter."""
    for pid in (service.front, service.page, *children(service.front)):
        with open(f"/proc/{pid}/status") as status:
            assert "Seccomp:\t2\n" in status.read()
    kinds = {"Content-Type": "application/octet-stream", "X-Gale-Page": "1"}
    read = ask(service.ui_port, "POST", "/ui/extract", ENCRYPTED.read_bytes(), kinds, PATIENCE_S)
    assert read.status == 422 and read.json_body()["error"]["code"] == "encrypted"
    body = json.dumps({"prompt": "x", "max_tokens": 8, "guided_choice": ["yes", "no"]})
    chosen = ask(service.port, "POST", "/v1/completions", body, {"Content-Type": "application/json"}, PATIENCE_S)
    assert chosen.status == 200 and chosen.json_body()["choices"][0]["text"] in ("yes", "no")


@pytest.mark.parametrize("unit, path", [("gale.service", "/live"), ("gale-ui.service", "/ui/state")])
def test_what_is_killed_is_back_and_the_other_one_does_not_notice(machine, service, promised, unit, path):
    is_front = unit == "gale.service"
    other = service.page if is_front else service.front
    for _ in range(3):
        pid = machine.main_process(unit)
        theirs = children(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_there(pid), "it is gone", PATIENCE_S)
        port = service.port if is_front else service.ui_port
        taken = wait_for(lambda: get(port, path)[0] == 200, "it answers again", PATIENCE_S)
        print(f"\n{unit}: killed, answers again after {taken:.2f} s")
        assert taken < promised(BACK_S)
        wait_for(lambda: not any(map(is_there, theirs)), "no orphans", PATIENCE_S)
        wait_for(service.is_ready, "it serves again", PATIENCE_S)
    assert other == (service.page if is_front else service.front)


def test_reload_brings_the_successor_and_loses_nothing(machine, service):
    before = service.front
    with Load(lambda: (service.port, 0), 4) as load:
        load.wait_for(10)
        assert service.do("upgrade").returncode == 0
        wait_for(lambda: not is_there(before), "the old one has left", PATIENCE_S)
        load.wait_for(10)
    assert load.failures == []
    wait_for(lambda: service.front not in (None, before), "systemd knows who follows", PATIENCE_S)
    assert command_of(service.front)[1] == b"serve"
    assert machine.show("gale.service", "ActiveState") == "active"
    beat = "gale.service", "WatchdogTimestampMonotonic"
    before = machine.show(*beat)
    wait_for(lambda: machine.show(*beat) != before, "the beat of the new one is heard", PATIENCE_S)


def test_a_front_that_hangs_is_replaced_by_the_watchdog(machine, service):
    front, page = service.front, service.page
    begin = time.monotonic()
    with held(front):
        wait_for(lambda: not is_there(front), "the watchdog ends it", 3 * PATIENCE_S)
    print(f"\nhang: ended after {time.monotonic() - begin:.1f} s")
    assert time.monotonic() - begin > WATCHDOG_S - 5
    wait_for(service.is_ready, "the next one serves", PATIENCE_S)
    assert service.front not in (None, front) and service.page == page


def check_nothing_is_left(machine, ports, pids):
    wait_for(lambda: not any(map(is_there, pids)), "everything has ended", PATIENCE_S)
    for port in ports:
        with pytest.raises(OSError):
            get(port, "/live")
    for path in ("/etc/systemd/system/gale.service", "/etc/gale", "/run/gale", "/var/lib/gale"):
        assert machine.do("test", "-e", path).returncode == 1, path
    for unit in ("gale.service", "gale-ui.service"):
        assert machine.show(unit, "LoadState") == "not-found"


def test_uninstall_leaves_nothing(machine, service):
    pids = [service.front, service.page, *children(service.front)]
    told = service.do("uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    check_nothing_is_left(machine, (service.port, service.ui_port), pids)


def test_quickstart_makes_a_service_also_of_a_tree_that_its_owner_alone_may_enter(machine, binary):
    """Of this tree, as it lies here, in the container; packages and build are there already."""
    built = ROOT / "build" / "bin" / "gale"
    if not built.exists() or not built.samefile(binary):
        pytest.skip("quickstart builds in build/, which is not what is tested here")
    if machine.do("test", "-x", built).returncode != 0:
        pytest.skip("the container does not see this tree, which lies on another disk than the root folder")
    assert machine.do("chmod", "700", ROOT).returncode == 0
    port, ui_port = free_port(), free_port()
    told = machine.do(ROOT / "quickstart", "--service", "--port", port, "--ui-port", ui_port)
    assert told.returncode == 0, told.stdout + told.stderr
    owner = machine.do("stat", "-c", "%U", ROOT).stdout.strip()
    assert f"They run as {owner}, who alone may read" in told.stdout and machine.show("gale.service", "User") == owner
    for unit, at, path in (("gale.service", port, "/ready"), ("gale-ui.service", ui_port, "/ui/state")):
        wait_for(lambda: get(at, path)[0] == 200, "it answers", PATIENCE_S)
        pid = machine.main_process(unit)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_there(pid), "it is gone", PATIENCE_S)
        wait_for(lambda: get(at, path)[0] == 200, "it answers again", PATIENCE_S)
    front = machine.main_process("gale.service")
    pids = [front, machine.main_process("gale-ui.service"), *children(front)]
    told = machine.do(built, "service", "uninstall")
    assert told.returncode == 0, told.stdout + told.stderr
    check_nothing_is_left(machine, (port, ui_port), pids)
