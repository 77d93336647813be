#!/usr/bin/env python3
"""What can go wrong on a machine with an NVIDIA card, tried one by one; prints a table and ends with 1 if a promise
is broken.

    python3 tools/gpu/faults.py GALE_WITH_FAULTS

GALE_WITH_FAULTS is built from tests/gpu (ninja gale_with_faults): gale with a draw that goes wrong on demand. The model
is one of models/nano-flash's shape with random weights. Run from the root of the checkout."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
from gale_server import GaleServer  # noqa: E402
from random_checkpoint import write_checkpoint  # noqa: E402
from spoiled_model import spoil_token  # noqa: E402

NANO = ROOT / "models/nano-flash"
SPOILED = 4242
NUM_STREAMS = 16
ROWS = []


def note(case, is_good, what):
    ROWS.append((case, is_good, what))
    print(f"{'good' if is_good else 'BAD '}  {case}: {what}", flush=True)


def metric(server, name):
    lines = server.get("/metrics").body.decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith((name + "{", name + " ", name + "_total"))
    )


def wait_for(is_so, seconds):
    """Whether it came to be so in that time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def complete(server, prompt, num_tokens=40, **body):
    return server.post(
        "/v1/completions", {"prompt": prompt, "temperature": 0, "max_tokens": num_tokens, "ignore_eos": True, **body}
    )


def run_start(binary, *flags, model, environment=None, timeout=60):
    """gale serve that is expected to fail: exit code and last line of what it says."""
    command = [
        str(binary),
        "serve",
        str(model),
        "--host",
        "127.0.0.1",
        "--port",
        "8179",
        "--device",
        "cuda",
        *map(str, flags),
    ]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        return None, "still runs: it should have failed"
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("gale: ")]
    return result.returncode, lines[-1] if lines else (result.stdout + result.stderr)[-400:]


class Streams:
    """Requests that run while something goes wrong; each must come whole."""

    def __init__(self, server, num_tokens):
        self.answers = [None] * NUM_STREAMS
        self.num_tokens = num_tokens
        self.threads = [threading.Thread(target=self.ask, args=(server, i)) for i in range(NUM_STREAMS)]
        for thread in self.threads:
            thread.start()

    def ask(self, server, i):
        answer = complete(server, [100 + i, 200 + i, 300, 301], self.num_tokens, temperature=0.8, seed=i)
        self.answers[i] = (
            answer.json_body()["usage"]["completion_tokens"] if answer.status == 200 else answer.body[:200]
        )

    def num_whole(self):
        for thread in self.threads:
            thread.join(120)
        return sum(answer == self.num_tokens for answer in self.answers)


def nan_case(binary, folder):
    model = spoil_token(folder / "nano", folder / "nan", SPOILED)
    with GaleServer(binary, "--device", "cuda", model=model) as server:
        alone = [
            complete(server, [100 + i, 200 + i, 300, 301] * 8).json_body()["choices"][0]["text"] for i in range(8)
        ]
        answers = {}

        def ask(key, prompt):
            answers[key] = complete(server, prompt)

        work = [(i, [100 + i, 200 + i, 300, 301] * 8) for i in range(8)]
        work += [("a", [SPOILED]), ("b", [*range(50, 150), SPOILED]), ("c", [100, 200, 300, 301, 100, SPOILED, 7])]
        threads = [threading.Thread(target=ask, args=item) for item in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        bad = [answers[k] for k in "abc"]
        again = complete(server, work[0][1]).json_body()["choices"][0]["text"]
        others = sum(answers[i].status == 200 for i in range(8))
        same = sum(
            answers[i].status == 200 and answers[i].json_body()["choices"][0]["text"] == alone[i] for i in range(8)
        )
        message = bad[0].json_body()["error"]["message"]
        is_good = (
            all(a.status == 500 for a in bad)
            and others == 8
            and again == alone[0]
            and wait_for(lambda: metric(server, "engine_sequence_failures") >= 3, 5)  # told by the next beat
        )
        note(
            "NaN in the logits",
            is_good,
            f'3 requests failed with 500 "{message}"; {others} of 8 others whole, {same} with the text they have '
            f"alone; counter {metric(server, 'engine_sequence_failures'):.0f}; "
            f"engine restarts {metric(server, 'engine_restarts'):.0f}",
        )


def fault_case(binary, folder, order, num_tokens):
    path = folder / f"order-{order}"
    environment = {**os.environ, "GALE_FAULT_FILE": str(path)}
    with GaleServer(
        binary,
        *("--device", "cuda", "--max-num-seqs", "32"),
        model=folder / "nano",
        environment=environment,
        is_patient=False,  # the product's own patience with a silent engine
    ) as server:
        streams = Streams(server, num_tokens)
        is_running = wait_for(lambda: metric(server, "vllm:generation_tokens") > 0, 20)
        begin = time.monotonic()
        path.write_text(order)
        red_after = back_after = None
        reason = ""
        while time.monotonic() - begin < 60:
            now = time.monotonic() - begin
            health = server.get("/health")
            if health.status != 200 and red_after is None:
                red_after, reason = now, health.body.decode()[:300]
            if metric(server, "engine_restarts") >= 1 and health.status == 200 and server.get("/ready").status == 200:
                back_after = now
                break
            time.sleep(0.02)
        whole = streams.num_whole()
        log = [line for line in server.log_text().splitlines() if "engine died" in line]
        if path.exists():
            log = ["the order was never taken: the streams were over before"]
        is_good = (
            whole == NUM_STREAMS
            and is_running
            and back_after is not None
            and (order == "fault" or (red_after is not None and red_after <= 10))
        )
        red = "health stayed green" if red_after is None else f"health red after {red_after:.1f} s {reason}"
        note(
            "device fault" if order == "fault" else "stalled kernel",
            is_good,
            f"{whole} of {NUM_STREAMS} streams whole; {red}; served again after {back_after and round(back_after, 1)} s"
            "; "
            f"log: {log[0][-160:] if log else 'nothing'}",
        )


def hold_memory(num_bytes):
    """A child that keeps so much of the card, through the driver alone; ends when its input closes."""
    code = f"""
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1"); device = ctypes.c_int(); context = ctypes.c_void_p(); memory = ctypes.c_uint64()
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t({num_bytes})) == 0
print("held", flush=True); sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "held", "the memory could not be taken"
    return child


def card_bytes():
    out = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(out.stdout.splitlines()[0]) << 20


def memory_cases(binary, models):
    total = card_bytes()
    code, line = run_start(binary, "--load-format", "dummy", model=models / "46v")
    note(
        "card too small (106B in bf16)",
        code == 4 and "GiB are missing" in line and "a card with more memory" in line,
        f"exit {code}: {line}",
    )
    holder = hold_memory(int(total * 0.9))
    code, line = run_start(binary, "--load-format", "dummy", model=models / "9b")
    note(
        "another process holds 90 % of the card", code == 4 and "other processes hold" in line, f"exit {code}: {line}"
    )
    code, line = run_start(binary, "--gpu-memory-utilization", "0.5", model=models / "nano")
    note("the share is taken already", code == 4 and "--gpu-memory-utilization 0.9" in line, f"exit {code}: {line}")
    holder.stdin.close()
    holder.wait(20)
    share = ((17.51 + 4) * 2**30) / total  # its weights and some more: 131,072 tokens take 5 GiB, in FP8 2.5
    code, line = run_start(
        binary,
        "--load-format",
        "dummy",
        "--gpu-memory-utilization",
        f"{share:.3f}",
        "--max-model-len",
        "131072",
        model=models / "9b",
    )
    note(
        "too little for one sequence",
        code == 4 and "--max-model-len" in line and "--kv-cache-dtype fp8" in line,
        f"exit {code}: {line}",
    )
    holder = hold_memory(int(total * 0.9))
    threading.Timer(3, holder.stdin.close).start()
    with GaleServer(
        binary, "--device", "cuda", "--load-format", "dummy", "--max-model-len", "2048", model=models / "9b"
    ) as server:
        note(
            "memory that an old engine gives back after 3 s",
            "waiting up to" in server.log_text(),
            "waited, then served",
        )
    holder.wait(20)


STUB = """
int cuInit(unsigned flags) { return %(init)d; }
int cuDriverGetVersion(int* version) { *version = %(version)d; return 0; }
"""


def driver_cases(binary, folder):
    code, line = run_start(binary, model=folder / "nano", environment={"CUDA_VISIBLE_DEVICES": ""})
    note("no GPU", code == 1 and "sees no NVIDIA GPU" in line, f"exit {code}: {line}")
    for case, values, wanted in (
        ("driver too old", {"init": 0, "version": 11040}, "update the driver"),
        ("driver without its kernel module", {"init": 999, "version": 13000}, ""),
    ):
        stub = folder / case.replace(" ", "-")
        stub.mkdir()
        (stub / "stub.c").write_text(STUB % values)
        made = subprocess.run(
            ["gcc", "-shared", "-fPIC", "-o", stub / "libcuda.so.1", stub / "stub.c"], capture_output=True, text=True
        )
        if made.returncode != 0:
            note(case, False, "not tried: no compiler here")
            continue
        code, line = run_start(binary, model=folder / "nano", environment={"LD_LIBRARY_PATH": str(stub)})
        note(case, code == 1 and wanted in line, f"exit {code}: {line}")
    needed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout
    names = sorted({line.split()[0].split("/")[-1] for line in needed.splitlines() if line.strip()})
    note(
        "missing library",
        not any("cuda" in n or "cublas" in n or "nccl" in n for n in names),
        f"none can be missed: {' '.join(names)}",
    )


def shard_case(binary, folder):
    model = folder / "corrupt"
    shutil.copytree(folder / "nano", model)
    shard = next(model.glob("*.safetensors"))
    os.truncate(shard, shard.stat().st_size - 1000)
    code, line = run_start(binary, model=model)
    note("corrupt shard", code == 3 and shard.name in line, f"exit {code}: {line}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary", type=pathlib.Path)
    arguments.add_argument("--only", nargs="+", help="names of cases")
    options = arguments.parse_args()
    binary = options.binary.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(
            [sys.executable, ROOT / "tools/gpu/make_dummy_models.py", folder, "9b", "46v"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        shutil.copytree(NANO, folder / "nano", ignore=shutil.ignore_patterns("*.safetensors*"))
        write_checkpoint(binary, folder / "nano", 2)
        cases = {
            "driver": lambda: driver_cases(binary, folder),
            "shard": lambda: shard_case(binary, folder),
            "nan": lambda: nan_case(binary, folder),
            "fault": lambda: fault_case(binary, folder, "fault", 3000),
            "memory": lambda: memory_cases(binary, folder),
            "stall": lambda: fault_case(binary, folder, "stall", 3000),
        }
        for case, run in cases.items():
            if options.only and case not in options.only:
                continue
            begin = time.monotonic()
            try:
                run()
            except Exception as trouble:  # noqa: BLE001 – the next cases are worth trying
                note(case, False, f"{type(trouble).__name__}: {trouble}"[:1500])
            print(f"      ({case}: {time.monotonic() - begin:.1f} s)", flush=True)
    bad = [row for row in ROWS if not row[1]]
    print(f"{len(ROWS) - len(bad)} of {len(ROWS)} as promised")
    sys.exit(1 if bad else 0)


main()
