"""gale as a service: what is installed is what deploy/ shows, it is really started, killed and removed."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from gale_server import NANO_FLASH, ROOT, GaleServer, free_port

PLAN = ["--model", "/models/glm", "--program", "/usr/local/bin/gale"]


def service(binary, *arguments, **more):
    return subprocess.run(
        [binary, "service", *map(str, arguments)], capture_output=True, text=True, timeout=120, **more
    )


@pytest.mark.parametrize("manager, folder", [("supervisor", "supervisor"), ("systemd", "systemd")])
def test_deploy_shows_what_would_be_installed(binary, manager, folder):
    shown = service(binary, "install", *PLAN, "--manager", manager, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    files = re.split(r"^# (/\S+)\n", shown.stdout, flags=re.M)[1:]
    kept = {path.name: path.read_text() for path in (ROOT / "deploy" / folder).iterdir()}
    assert dict(zip([Path(name).name for name in files[::2]], files[1::2])) == kept


def test_a_page_that_others_reach_gets_a_password(binary):
    for manager, file in (("supervisor", "supervisord.conf"), ("systemd", "ui.env")):
        shown = service(binary, "install", *PLAN, "--manager", manager, "--dry-run", "--ui-host", "0.0.0.0").stdout
        assert re.search(r'GALE_PASSWORD="?\S{16}', shown) and file in shown


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["install", "--manager", "supervisor"], 2, "which model"),
        (["install", "--model", "/nowhere", "--manager", "supervisor"], 3, "no config.json"),
        (["install", "--model", "/a b", "--dry-run", "--manager", "supervisor"], 2, "without blanks"),
        (["begin"], 2, "install"),
        ([], 2, "ACTION is missing"),
    ],
)
def test_what_cannot_be_installed_is_said(binary, arguments, code, message):
    told = service(binary, *arguments)
    assert told.returncode == code and message in told.stderr


def get(port, path="/ui/state", timeout=5):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_for(holds, seconds, what):
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        try:
            if holds():
                return time.monotonic() - begin
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def processes(folder):
    """Ids of the two programs of the service, by name, once both count as running."""
    for _ in range(600):
        told = subprocess.run(
            ["supervisorctl", "-c", f"{folder}/supervisord.conf", "status"], capture_output=True, text=True
        ).stdout
        found = {
            line.split()[0]: int(re.search(r"pid (\d+)", line)[1]) for line in told.splitlines() if "RUNNING" in line
        }
        if len(found) == 2:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not running:\n{told}")


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_there(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def installed(binary, tmp_path_factory):
    if not shutil.which("supervisord"):
        pytest.fail("supervisor is not installed: ./check installs it")
    folder = tmp_path_factory.mktemp("service") / "gale"
    port, ui_port = free_port(), free_port()
    flags = ["--manager", "supervisor", "--folder", folder]
    told = service(binary, "install", "--model", NANO_FLASH, "--port", port, "--ui-port", ui_port, *flags)
    assert told.returncode == 0, told.stdout + told.stderr
    try:
        wait_for(lambda: get(port, "/ready")[0] == 200, 120, "the API is ready")
        wait_for(lambda: get(ui_port)[0] == 200, 120, "the page answers")
        yield folder, port, ui_port, flags
    finally:
        gone = processes(folder)
        told = service(binary, "uninstall", *flags)
        assert told.returncode == 0, told.stdout + told.stderr
        assert not folder.exists()
        assert not any(is_there(pid) for pid in gone.values())
        with pytest.raises(OSError):
            get(port, "/live")


def test_the_page_that_is_killed_is_back_and_inference_did_not_notice(installed, promised):
    folder, port, ui_port, _ = installed
    front = processes(folder)["gale"]
    engine = children(front)
    for _ in range(3):
        page = processes(folder)["gale-ui"]
        os.kill(page, signal.SIGKILL)
        wait_for(lambda: not is_there(page), 30, "it is gone")
        assert wait_for(lambda: get(ui_port)[0] == 200, promised(3), "the page is back")
    assert processes(folder)["gale"] == front and children(front) == engine
    assert get(port, "/ready")[0] == 200


def test_the_front_that_is_killed_is_back_without_orphans(installed, promised):
    folder, port, _, _ = installed
    for _ in range(2):
        front = processes(folder)["gale"]
        engine = children(front)
        os.kill(front, signal.SIGKILL)
        wait_for(lambda: not is_there(front), 30, "it is gone")
        assert wait_for(lambda: get(port, "/live")[0] == 200, promised(3), "it accepts again")
        wait_for(lambda: not any(is_there(pid) for pid in engine), promised(3), "its engine left with it")
        wait_for(lambda: get(port, "/ready")[0] == 200, 120, "it serves again")


def test_the_engine_that_is_killed_costs_an_answer_a_pause(installed):
    folder, port, _, _ = installed
    front = processes(folder)["gale"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"prompt": "The wind", "max_tokens": 300, "ignore_eos": True, "temperature": 0}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    time.sleep(0.3)
    for pid in children(front):
        os.kill(pid, signal.SIGKILL)
    response = connection.getresponse()
    assert response.status == 200 and json.loads(response.read())["usage"]["completion_tokens"] == 300
    connection.close()
    assert processes(folder)["gale"] == front


def test_status_and_logs_are_told(binary, installed):
    folder, _, _, flags = installed
    assert re.search(r"gale\s+RUNNING", service(binary, "status", *flags).stdout)
    assert "Application startup complete." in service(binary, "logs", *flags).stdout
    assert oct((folder / "supervisord.conf").stat().st_mode)[-3:] == "600"


def test_systemd_finds_nothing_wrong_with_the_units(binary, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.fail("systemd-analyze is not installed: ./check installs it")
    shown = service(binary, "install", "--model", NANO_FLASH, "--manager", "systemd", "--dry-run").stdout
    parts = re.split(r"^# (/\S+)\n", shown, flags=re.M)[1:]
    for name, text in zip(parts[::2], parts[1::2]):
        (tmp_path / Path(name).name).write_text(text)
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.glob("*.service"))], capture_output=True, text=True
    )
    assert told.returncode == 0 and "gale" not in told.stderr, told.stderr


def test_a_notify_socket_hears_that_the_server_is_ready_and_alive(binary, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        with GaleServer(binary, environment={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}):
            heard = [manager.recv(100) for _ in range(4)]
        assert b"READY=1" in heard and b"WATCHDOG=1" in heard
        rest = manager.recv(100)
        while rest == b"WATCHDOG=1":
            rest = manager.recv(100)
        assert rest == b"STOPPING=1"


def test_manifests_are_whole():
    kinds = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "deploy/kubernetes/gale.yaml").read_text())}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    assert kinds["Service"]["spec"]["selector"] == kinds["Deployment"]["spec"]["selector"]["matchLabels"]
    arguments = pod["containers"][0]["args"]
    times = [int(arguments[arguments.index(flag) + 1]) for flag in ("--drain-delay", "--shutdown-timeout")]
    assert pod["terminationGracePeriodSeconds"] > sum(times)
    compose = yaml.safe_load((ROOT / "deploy/container/compose.yaml").read_text())
    assert set(compose["services"]) == {"api", "page"}


def test_dashboard_and_alerts_ask_for_metrics_that_exist(binary):
    dashboard = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((ROOT / "deploy/grafana/alerts.yaml").read_text())
    queries += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    with GaleServer(binary) as server:
        server.post("/v1/completions", {"prompt": "x", "max_tokens": 2})
        text = server.get("/metrics").body.decode()
    exposed = set(re.findall(r"^(vllm:\w+)", text, re.M))
    asked = {name for query in queries for name in re.findall(r"vllm:\w+", query)}
    assert asked - exposed == set() and len(asked) > 10
