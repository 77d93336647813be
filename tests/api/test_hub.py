"""Models by their name on the Hub: what is downloaded, into a cache that Python's tools share, and everything that goes
wrong on the way. The Hub is tests/support/fake_hub.py."""

import contextlib
import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess

import pytest
from fake_hub import COMMIT, FakeHub, etag_of
from gale_server import NANO_FLASH, GaleServer
from killing import wait_for
from sdk import sdk

NANO = {path.name: path.read_bytes() for path in NANO_FLASH.iterdir()}
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
BYTES = random.Random(9)
SMALL = {
    "config.json": b'{"architectures": ["X"]}',
    "tokenizer.json": b"{}",
    "README.md": b"not needed",
    "pytorch_model.bin": b"not needed",
    "sub/config.json": b"not needed",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}).encode(),
    **{name: BYTES.randbytes(1_500_000) for name in SHARDS},
}
NEEDED = {"config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS}
FIRST = SHARDS[0]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def hub():
    with FakeHub(SMALL) as running:
        yield running


def environment_of(hub, home, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GALE_"))}
    address = {"HF_ENDPOINT": hub.url} if hub else {"HF_ENDPOINT": "http://127.0.0.1:1"}
    return {**kept, "HF_HOME": str(home), **address, **more}


def start(binary, hub, home, *arguments, **more):
    command = [str(binary), "download", "org/model", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment_of(hub, home, **more), **pipes)


def download(binary, hub, home, *arguments, **more):
    process = start(binary, hub, home, *arguments, **more)
    out, told = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def model_folder(home):
    return home / "hub" / "models--org--model"


def check_whole(home, files=SMALL, names=NEEDED, commit=COMMIT):
    folder = model_folder(home)
    snapshot = folder / "snapshots" / commit
    assert {path.name for path in snapshot.iterdir()} == set(names)
    for name in names:
        link = snapshot / name
        assert os.readlink(link) == f"../../blobs/{etag_of(files[name])}"
        assert link.read_bytes() == files[name]
    assert not list(folder.rglob("*.incomplete")) and not list(folder.rglob("*.tmp"))


def check_refusal(told, code, *words):
    assert told.returncode == code and not told.stdout, told.stderr
    last = told.stderr.splitlines()[-1]
    assert last.startswith("gale: ") and all(word in last for word in words), told.stderr


def test_what_gale_reads_is_downloaded_once(binary, hub, home):
    told = download(binary, hub, home)
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"{model_folder(home) / 'snapshots' / COMMIT}\n"
    check_whole(home)
    assert (model_folder(home) / "refs" / "main").read_text() == COMMIT
    assert len(hub.store_requests) == 2
    again = download(binary, hub, home)
    assert again.stdout == told.stdout and len(hub.store_requests) == 2
    by_commit = len(hub.requests)
    assert download(binary, hub, home, "--revision", COMMIT).stdout == told.stdout
    assert len(hub.requests) == by_commit, "a commit that is whole needs no question"


def test_a_tokenizer_by_name(binary, home):
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    files = {name: NANO[name] for name in names} | {"model.safetensors": b"not needed"}
    with FakeHub(files, name="other/words") as hub:
        environment = environment_of(hub, home)
        with GaleServer(binary, "--tokenizer", "other/words", environment=environment) as server:
            assert server.post("/tokenize", {"prompt": "gale"}).status == 200
        assert not any("safetensors" in path for _, path, _ in hub.requests)
        command = [binary, "serve", NANO_FLASH, "--tokenizer", "other/nothing"]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert told.returncode == 3 and "other/nothing" in told.stderr, told.stderr


def test_a_server_by_name(binary, home):
    with FakeHub(NANO) as hub:
        with GaleServer(binary, model="org/model", environment=environment_of(hub, home)) as server:
            card = server.get("/v1/models").json_body()["data"][0]
            assert card["id"] == "org/model"
            ask = {"model": "org/model", "prompt": "gale", "max_tokens": 3}
            assert server.post("/v1/completions", ask).status == 200
        check_whole(home, NANO, set(NANO) - {"README.md"})
        offline = environment_of(None, home, HF_HUB_OFFLINE="1")
        with GaleServer(binary, model="org/model", environment=offline) as server:
            assert server.get("/v1/models").json_body()["data"][0]["id"] == "org/model"
    told = subprocess.run([binary, "inspect", "org/model"], env=offline, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0 and "Glm4MoeLiteForCausalLM" in told.stdout, told.stderr
    looked = subprocess.run([binary, "doctor", "org/model"], env=offline, capture_output=True, text=True, timeout=120)
    assert "tokenizer reads" in looked.stdout


def test_a_download_goes_on_where_it_was_cut(binary, hub, home):
    hub.cut_after[FIRST] = [300_000, 500_000]
    assert download(binary, hub, home).returncode == 0
    check_whole(home)
    ranges = [headers.get("Range") for _, file, headers in hub.store_requests if file == FIRST]
    assert ranges == [None, "bytes=300000-", "bytes=800000-"]


def test_a_store_without_ranges_begins_again(binary, hub, home):
    hub.knows_ranges = False
    hub.cut_after[FIRST] = [300_000]
    assert download(binary, hub, home).returncode == 0
    check_whole(home)


def test_a_killed_download_goes_on(binary, hub, home):
    for how in (signal.SIGKILL, signal.SIGTERM):
        hub.hold = {FIRST}
        hub.begun.clear()
        process = start(binary, hub, home)
        partial = model_folder(home) / "blobs" / f"{etag_of(SMALL[FIRST])}.incomplete"
        assert hub.begun.wait(120)
        wait_for(lambda: partial.exists() and partial.stat().st_size > 0, "nothing is written", 120)
        process.send_signal(how)
        process.communicate(timeout=120)
        assert partial.stat().st_size < len(SMALL[FIRST]) and not (model_folder(home) / "refs" / "main").exists()
    hub.hold = set()
    assert download(binary, hub, home).returncode == 0
    check_whole(home)
    last = [headers.get("Range") for _, file, headers in hub.store_requests if file == FIRST][-1]
    assert last and last != "bytes=0-"


def test_a_server_that_downloads_can_be_stopped(binary, hub, home):
    hub.hold = {FIRST}
    command = [str(binary), "serve", "org/model", "--port", "0"]
    process = subprocess.Popen(command, env=environment_of(hub, home), stderr=subprocess.PIPE, text=True)
    assert hub.begun.wait(120)
    process.send_signal(signal.SIGTERM)
    hub.held.set()
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told


def test_wrong_bytes_are_downloaded_again_and_never_kept(binary, hub, home):
    hub.spoil[FIRST] = 1
    told = download(binary, hub, home)
    assert told.returncode == 0 and "not what its hash says" in told.stderr
    check_whole(home)


def test_bytes_that_stay_wrong_end_it(binary, hub, home):
    hub.spoil[FIRST] = 9
    check_refusal(download(binary, hub, home), 3, etag_of(SMALL[FIRST]), "not what its hash says")
    assert not (model_folder(home) / "blobs" / etag_of(SMALL[FIRST])).exists()


def test_a_spoiled_beginning_is_found_out(binary, hub, home):
    blobs = model_folder(home) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag_of(SMALL[FIRST])}.incomplete").write_bytes(b"x" * 1000)
    (blobs / f"{etag_of(SMALL[SHARDS[1]])}.incomplete").write_bytes(b"x" * 2_000_000)
    assert download(binary, hub, home).returncode == 0
    check_whole(home)


def test_a_store_that_fails_for_a_while(binary, hub, home):
    hub.refuse[FIRST] = [503, 403, 429]
    assert download(binary, hub, home).returncode == 0
    check_whole(home)


def test_a_store_that_fails_for_good(binary, hub, home):
    hub.refuse[FIRST] = [500] * 99
    check_refusal(download(binary, hub, home), 1, FIRST, "status 500", "start again to go on")


def test_the_token_stays_with_the_hub(binary, hub, home):
    hub.token = "hf_canary"
    assert download(binary, hub, home, HF_TOKEN="hf_canary").returncode == 0
    check_whole(home)
    assert all(headers.get("Authorization") == "Bearer hf_canary" for _, _, headers in hub.requests)
    assert not any("Authorization" in headers for _, _, headers in hub.store_requests)


def test_the_token_of_a_login_is_found(binary, hub, home):
    hub.token = "hf_canary"
    home.mkdir()
    (home / "token").write_text("hf_canary\n")
    assert download(binary, hub, home).returncode == 0
    check_whole(home)


@pytest.mark.parametrize(
    "gated, token, words",
    [
        (True, "", ["org/model is gated", "accept its conditions at http", "set HF_TOKEN"]),
        (True, "hf_wrong", ["org/model is gated", "the token is not one of"]),
        (False, "", ["neither a folder org/model", "status 401", "set HF_TOKEN"]),
        (False, "hf_wrong", ["neither a folder org/model", "status 404", "the token is not one of"]),
    ],
)
def test_who_may_not_have_it_is_told_why(binary, hub, home, gated, token, words):
    hub.token, hub.gated = "hf_canary", gated
    told = download(binary, hub, home, HF_TOKEN=token)
    check_refusal(told, 3, *words)
    assert "hf_wrong" not in told.stderr


def test_a_revision(binary, hub, home):
    hub.branches["refs/pr/1"] = "ab" * 20
    assert download(binary, hub, home, "--revision", "refs/pr/1").returncode == 0
    check_whole(home, commit="ab" * 20)
    assert (model_folder(home) / "refs" / "refs" / "pr" / "1").read_text() == "ab" * 20
    check_refusal(download(binary, hub, home, "--revision", "nothing"), 3, "has no revision 'nothing'")
    for outside in ("../../x", "/etc", "a/../b", ".hidden"):
        check_refusal(download(binary, hub, home, f"--revision={outside}"), 2, "--revision")


def test_offline_opens_no_connection(binary, hub, home):
    check_refusal(download(binary, hub, home, "--offline"), 3, "is not in the cache", "offline")
    assert not hub.requests
    assert download(binary, hub, home).returncode == 0
    num = len(hub.requests)
    assert download(binary, hub, home, HF_HUB_OFFLINE="YES").returncode == 0
    (model_folder(home) / "snapshots" / COMMIT / FIRST).unlink()
    check_refusal(download(binary, hub, home, "--offline"), 3, "not whole", FIRST)
    assert len(hub.requests) == num


def test_a_hub_that_cannot_be_reached(binary, hub, home):
    check_refusal(download(binary, None, home), 1, "127.0.0.1:1")
    assert download(binary, hub, home).returncode == 0
    told = download(binary, None, home)
    assert told.returncode == 0 and "is served as it is in the cache" in told.stderr


def test_models_that_gale_cannot_serve(binary, home):
    lacking = {"no tokenizer": "tokenizer.json", "no weights": "model.safetensors.index.json"}
    for file in lacking.values():
        with FakeHub({name: data for name, data in SMALL.items() if name != file}) as hub:
            check_refusal(download(binary, hub, home), 3, file)


@pytest.mark.parametrize(
    "path", ["../../../outside.safetensors", "/tmp/outside.safetensors", "a/b.safetensors", ".."]
)
def test_an_index_leads_nowhere_else(binary, home, path):
    index = json.dumps({"weight_map": {"a": path}}).encode()
    with FakeHub({**SMALL, "model.safetensors.index.json": index}) as hub:
        check_refusal(download(binary, hub, home), 3, "leads out of the folder")


def test_two_at_once_download_one(binary, hub, home):
    hub.hold = {FIRST}
    first = start(binary, hub, home)
    assert hub.begun.wait(120)
    second = start(binary, hub, home)
    told = []

    def says_that_it_waits():
        told.append(os.read(second.stderr.fileno(), 65536).decode())
        return "is being downloaded already" in "".join(told)

    wait_for(says_that_it_waits, "no waiting")
    hub.held.set()
    assert first.communicate(timeout=120)[0] == second.communicate(timeout=120)[0] != ""
    check_whole(home)
    assert sum(file == FIRST for _, file, _ in hub.store_requests) == 1


def test_a_cache_that_cannot_be_written_serves(binary, hub, home):
    assert download(binary, hub, home).returncode == 0
    lock = home / "hub" / ".locks" / "models--org--model" / f"{etag_of(SMALL[FIRST])}.lock"
    with open(lock) as held:  # nobody asks for locks or writes where all is there
        fcntl.flock(held, fcntl.LOCK_EX)
        before = sorted((str(path), path.lstat().st_mtime_ns) for path in home.rglob("*"))
        assert download(binary, hub, home).returncode == 0
        assert sorted((str(path), path.lstat().st_mtime_ns) for path in home.rglob("*")) == before


@contextlib.contextmanager
def small_disk(folder, megabytes):
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "gale-test", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_too_small_a_disk_is_told_before(binary, hub, tmp_path):
    with small_disk(tmp_path / "disk", 2) as disk:
        check_refusal(download(binary, hub, disk), 1, "bytes more in", "are free", "--download-dir")
        assert not hub.store_requests


def test_a_disk_that_fills_up_meanwhile(binary, hub, tmp_path):
    with small_disk(tmp_path / "disk", 4) as disk:
        hub.hold = {FIRST}
        process = start(binary, hub, disk)
        assert hub.begun.wait(120)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        hub.held.set()
        out, told = process.communicate(timeout=120)
        assert process.returncode == 1 and not out and "is full" in told and "what came is kept" in told
        (disk / "filler").unlink()
        hub.hold = set()
        assert download(binary, hub, disk).returncode == 0
        check_whole(disk)


def python_downloads(hub, home, **more):
    script = "import huggingface_hub as h; print(h.snapshot_download('org/model'))"
    environment = environment_of(hub, home, **more)
    told = subprocess.run(["python3", "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


@pytest.fixture
def with_python(monkeypatch):
    """The interpreter that has huggingface_hub stands first."""
    sdk("huggingface_hub")
    import sys

    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")


def test_python_finds_what_gale_downloaded(binary, hub, home, with_python):
    told = download(binary, hub, home)
    num = len(hub.store_requests)
    assert python_downloads(hub, home, HF_HUB_OFFLINE="1") == told.stdout.strip()
    assert python_downloads(hub, home) == told.stdout.strip()  # what gale does not read comes; its files do not again
    assert len(hub.store_requests) == num
    script = "import huggingface_hub as h; print(h.try_to_load_from_cache('org/model', 'config.json'))"
    found = subprocess.run(["python3", "-c", script], env=environment_of(hub, home), capture_output=True, text=True)
    assert found.stdout.strip() == told.stdout.strip() + "/config.json"


def test_gale_finds_what_python_downloaded(binary, hub, home, with_python):
    there = python_downloads(hub, home)
    num = len(hub.store_requests)
    assert download(binary, None, home, "--offline").stdout.strip() == there
    assert download(binary, hub, home).stdout.strip() == there
    assert len(hub.store_requests) == num
    for name in NEEDED:
        data = (model_folder(home) / "snapshots" / COMMIT / name).read_bytes()
        assert hashlib.sha256(data).digest() == hashlib.sha256(SMALL[name]).digest()


def test_a_folder_of_that_name_comes_first(binary, hub, home, tmp_path):
    (tmp_path / "org" / "model").mkdir(parents=True)
    command = [str(binary.absolute()), "serve", "org/model", "--port", "0"]
    told = subprocess.run(
        command, cwd=tmp_path, env=environment_of(hub, home), capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 3 and not hub.requests, told.stderr
