"""tools/gpu/session.py: blocks under limits, whatever they do; its real blocks are commands that exist."""

import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from gale_server import ROOT
from killing import is_there, wait_for

TOOLS = ROOT / "tools/gpu"


def load_session():
    spec = importlib.util.spec_from_file_location("session", TOOLS / "session.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["session"] = module
    spec.loader.exec_module(module)
    return module


session = load_session()


def program(folder, name, body):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return session.Block(name, f"{{programs}}/{name}", 100, 1)


def run(tmp_path, blocks, *words):
    out = tmp_path / "out"
    code = session.main(blocks, ["--programs", str(tmp_path), "--out", str(out), *words])
    return code, (out / "table.txt").read_text(), (out / "session.log").read_text()


def test_no_block_stops_those_behind_it(tmp_path):
    blocks = [
        program(tmp_path, "fine", "echo first words"),
        program(tmp_path, "fails", "echo a reason; exit 3"),
        program(tmp_path, "crashes", "kill -SEGV $$"),
        session.Block("missing", "{programs}/nowhere", 10, 1),
        program(tmp_path, "after", "echo the last one"),
    ]
    code, table, log = run(tmp_path, blocks)
    assert code == 1
    for block, state in (
        ("fine", "good"),
        ("fails", r"failed \(3\)"),
        ("crashes", r"failed \(-11\)"),
        ("after", "good"),
    ):
        assert re.search(rf"^{block} +{state}", table, re.M), table
    assert re.search("^missing +failed", table, re.M) and "No such file" in table
    assert "a reason" in table and "2 of 5 blocks went well\n" in table
    assert "first words" in log and "the last one" in log


def test_a_block_that_hangs_ends_with_all_that_it_started(tmp_path):
    hangs = program(
        tmp_path, "hangs", f"trap '' TERM; sleep 600 & echo $! >{tmp_path}/pid; echo begun; wait; sleep 600"
    )
    hangs.limit = 5
    begin = time.monotonic()
    code, table, log = run(tmp_path, [hangs, program(tmp_path, "after", "echo later")])
    assert code == 1 and time.monotonic() - begin < 500
    assert re.search("^hangs +out of time", table, re.M) and re.search("^after +good", table, re.M), table
    assert "go on" not in table  # its own limit was too short: it would be again
    assert "begun" in log
    child = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_there(child), "its child has ended, too")


def test_what_has_no_time_left_is_told_and_the_next_call_goes_on_there(tmp_path):
    blocks = [program(tmp_path, name, f"echo {name} ran") for name in ("one", "two", "three")]
    blocks[1].least = 10_000
    code, table, _ = run(tmp_path, blocks, "--seconds", "100")
    assert code == 1
    assert re.search("^two +left out", table, re.M) and re.search("^three +good", table, re.M), table
    assert "go on with --from two" in table
    blocks[1].least = 1
    code, table, log = run(tmp_path, blocks, "--from", "two", "--skip", "three")
    assert code == 0 and "one" not in table and "three" not in table and "two ran" in log
    code, table, _ = run(tmp_path, blocks, "--only", "three")
    assert code == 0 and "1 of 1 blocks went well\n" in table


def test_an_unknown_block_is_named(tmp_path):
    with pytest.raises(SystemExit, match="there is no block four; there are one"):
        run(tmp_path, [program(tmp_path, "one", "true")], "--from", "four")


def test_the_real_blocks_are_commands_that_their_tools_know():
    values = {"programs": "/programs", "python": sys.executable, "out": "/out", "commit": "abc", "seconds": 9}
    names = [block.name for block in session.BLOCKS]
    assert len(set(names)) == len(names)
    for block in session.BLOCKS:
        words = shlex.split(block.command.format(**values))
        assert block.least <= block.limit, block
        if words[0] != sys.executable:
            continue
        path = ROOT / words[1]
        assert path.exists(), words
        known = path.read_text() + (TOOLS / "served_model.py").read_text()
        for word in itertools.takewhile(lambda word: word != "--", words[2:]):  # behind it: another program's
            assert not word.startswith("--") or f'"{word}"' in known, f"{block.name}: {word}"


def test_a_pack_is_unpacked_and_run(tmp_path):
    if not shutil.which("xz") or not shutil.which("strip"):
        pytest.skip("no xz or strip here")
    build, pack = tmp_path / "build", tmp_path / "pack"
    (build / "bin").mkdir(parents=True)
    shutil.copy("/bin/true", build / "bin/gale")
    packed = subprocess.run([TOOLS / "pack.sh", build, pack, "gale"], capture_output=True, text=True)
    assert packed.returncode == 0, packed.stderr
    assert re.search(r"MiB of programs and [\d.]+ MiB of checkout, of at most 64", packed.stdout), packed.stdout
    code = session.main(
        [session.Block("gale", "{programs}/gale", 60, 1)], ["--programs", str(pack), "--out", str(tmp_path / "out")]
    )
    assert code == 0
    small = {**os.environ, "GALE_PACK_MIB": "1"}
    packed = subprocess.run([TOOLS / "pack.sh", build, pack, "gale"], capture_output=True, text=True, env=small)
    assert packed.returncode == 1 and "too large to travel" in packed.stderr
    packed = subprocess.run([TOOLS / "pack.sh", build, pack, "gone"], capture_output=True, text=True)
    assert packed.returncode == 1 and "gone is not built" in packed.stderr
