"""gale as a service: what is installed is what deploy/ shows, it is really started, killed and removed."""

import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from gale_server import NANO_FLASH, ROOT, GaleServer
from installed_service import service
from killing import wait_for
from notify_socket import NotifySocket

PLAN = ["--model", "/models/glm", "--program", "/usr/local/bin/gale"]


@pytest.mark.parametrize("manager, folder", [("supervisor", "supervisor"), ("systemd", "systemd")])
def test_deploy_shows_what_would_be_installed(binary, manager, folder):
    shown = service(binary, "install", *PLAN, "--manager", manager, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    files = re.split(r"^# (/\S+)\n", shown.stdout, flags=re.M)[1:]
    kept = {path.name: path.read_text() for path in (ROOT / "deploy" / folder).iterdir()}
    assert dict(zip([Path(name).name for name in files[::2]], files[1::2])) == kept


@pytest.mark.parametrize("manager, programs", [("supervisor", 3), ("systemd", 2)])
def test_the_form_of_logs_is_passed_on(binary, manager, programs):
    shown = service(binary, "install", *PLAN, "--manager", manager, "--dry-run", "--log-format", "json").stdout
    assert len(re.findall(r"^(?:command|ExecStart)=.* --log-format=json", shown, flags=re.M)) == programs


def systemd_user(binary, program, model):
    flags = ("--manager", "systemd", "--dry-run", "--program", program, "--model", model)
    told = service(binary, "install", *flags)
    assert told.returncode == 0, told.stderr
    (user,) = set(re.findall(r"^(User=.*|DynamicUser=yes)$", told.stdout, flags=re.M))
    return user


@pytest.fixture
def home():
    """A folder with a program and a model, for its owner's eyes alone; on the way there nothing else is closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        (folder / "model").mkdir()
        for path, mode in ((folder / "program", 0o755), (folder / "blob", 0o644), (folder / "model", 0o755)):
            path.touch()
            path.chmod(mode)
        (folder / "model" / "model.safetensors").symlink_to(folder / "blob")
        yield folder


def test_what_one_user_alone_may_read_is_run_as_that_user(binary, home):
    """A program or model in somebody's home: a user made for the service could not even start it."""
    me = f"User={pwd.getpwuid(os.geteuid()).pw_name}"
    assert systemd_user(binary, home / "program", "/usr/share/doc") == me
    assert systemd_user(binary, "/bin/true", home / "model") == me
    home.chmod(0o755)
    assert systemd_user(binary, home / "program", home / "model") == "DynamicUser=yes"
    (home / "blob").chmod(0o600)
    assert systemd_user(binary, home / "program", home / "model") == me
    (home / "blob").unlink()  # what is not there yet stands in nobody's way
    assert systemd_user(binary, home / "none", home / "model") == "DynamicUser=yes"


def test_program_and_model_of_two_users_are_refused(binary, home):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    home.chmod(0o755)
    (home / "program").chmod(0o700)
    (home / "model").chmod(0o700)
    os.chown(home / "model", 65534, 65534)
    flags = ("--manager", "systemd", "--dry-run", "--program", home / "program", "--model", home / "model")
    told = service(binary, "install", *flags)
    assert told.returncode != 0 and "is for user root alone" in told.stderr
    assert re.search(r"model for user \S+ alone", told.stderr)


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


def test_status_and_logs_are_told(binary, installed):
    folder, flags = installed.folder, installed.flags
    # supervisor calls a program RUNNING once it has lived a second, and writes what it said when it gets to it
    wait_for(lambda: re.search(r"gale\S*\s+RUNNING", service(binary, "status", *flags).stdout), "RUNNING", 120)
    started = "Application startup complete."
    wait_for(lambda: started in service(binary, "logs", *flags).stdout, f"the logs say {started}", 120)
    assert oct((folder / "supervisord.conf").stat().st_mode)[-3:] == "600"


def test_systemd_finds_nothing_wrong_with_the_units(binary, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.fail("systemd-analyze is not installed: ./check installs it")
    shown = service(binary, "install", "--model", NANO_FLASH, "--manager", "systemd", "--dry-run").stdout
    parts = re.split(r"^# (/\S+)\n", shown, flags=re.M)[1:]
    for name, text in zip(parts[::2], parts[1::2]):
        (tmp_path / Path(name).name).write_text(text)
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.glob("*.service"))],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0 and "gale" not in told.stderr, told.stderr


def test_a_notify_socket_hears_that_the_server_is_ready_and_alive(binary, tmp_path):
    with NotifySocket(tmp_path / "notify") as manager:
        with GaleServer(binary, environment=manager.environment):
            manager.wait_for("READY=1")
            manager.wait_for("WATCHDOG=1")
        manager.wait_for("STOPPING=1")
    assert [one for one in manager.heard if one != "WATCHDOG=1"] == ["READY=1", "STOPPING=1"]


def test_manifests_are_whole():
    kinds = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "deploy/kubernetes/gale.yaml").read_text())}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    assert kinds["Service"]["spec"]["selector"] == kinds["Deployment"]["spec"]["selector"]["matchLabels"]
    arguments = pod["containers"][0]["args"]
    times = [int(arguments[arguments.index(flag) + 1]) for flag in ("--drain-delay", "--shutdown-timeout")]
    assert pod["terminationGracePeriodSeconds"] > sum(times)
    compose = yaml.safe_load((ROOT / "deploy/container/compose.yaml").read_text())
    assert set(compose["services"]) == {"api", "page"}


def test_manifests_are_what_kubernetes_understands():
    """By its own schemas, strictly. The PodMonitor is the Prometheus operator's: they have none for it."""
    unknown = []
    for manifest in yaml.safe_load_all((ROOT / "deploy/kubernetes/gale.yaml").read_text()):
        try:
            kubernetes_validate.validate(manifest, "1.31", strict=True)
        except kubernetes_validate.utils.SchemaNotFoundError:
            unknown.append(manifest["kind"])
    assert unknown == ["PodMonitor"]
    broken = next(yaml.safe_load_all((ROOT / "deploy/kubernetes/gale.yaml").read_text()))
    broken["spec"]["replica"] = broken["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.31", strict=True)


def test_the_dashboard_is_one_that_grafana_takes():
    dashboard = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
    assert dashboard["schemaVersion"] >= 36 and dashboard["title"] and dashboard["uid"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"] and panel["type"] and all(target["refId"] for target in panel["targets"]), panel[
            "title"
        ]


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
