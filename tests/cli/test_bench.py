"""gale bench serve, throughput and latency against a running server."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from killing import wait_for


@pytest.fixture
def bench(binary, server, tmp_path):
    def run(command, *arguments):
        return subprocess.run([str(binary.resolve()), "bench", command, "--base-url", server.base_url,
                               *map(str, arguments)], capture_output=True, text=True,
                              timeout=600, cwd=tmp_path)
    return run


def values(text):
    """label -> number of the printed block."""
    pairs = (line.rsplit(maxsplit=1) for line in text.splitlines() if ":" in line)
    return {pair[0].rstrip(": "): float(pair[1]) for pair in pairs if len(pair) == 2
            and pair[1].replace(".", "").isdigit()}


SMALL = ("--num-prompts", 6, "--random-input-len", 16, "--random-output-len", 4)


def test_random_prompts_with_goodput_and_a_file(bench, tmp_path):
    told = bench("serve", *SMALL, "--goodput", "ttft:60000", "e2el:60000", "--percentile-metrics", "ttft", "e2el",
                 "--save-result", "--save-detailed",
                 "--result-filename", "r.json", "--metadata", "commit=abc", "--request-rate", 50, "--burstiness", 0.5,
                 "--seed", 3)
    assert told.returncode == 0, told.stdout + told.stderr
    printed = values(told.stdout)
    assert printed["Successful requests"] == 6 and printed["Total generated tokens"] == 24
    assert printed["Total input tokens"] == 96
    assert printed["Request goodput (req/s)"] == printed["Request throughput (req/s)"]
    assert "End-to-end Latency" in told.stdout and "Inter-token Latency" not in told.stdout
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["commit"] == "abc" and saved["burstiness"] == 0.5 and saved["input_lens"] == [16] * 6
    assert saved["completed"] == 6
    assert bench("serve", *SMALL, "--append-result", "--result-filename", "r.json").returncode == 0
    assert [run["completed"] for run in json.loads((tmp_path / "r.json").read_text())] == [6, 6]


def test_prompts_that_share_prefixes_hit_the_cache(bench, server):
    def hits():
        return float(next(line.split()[-1] for line in server.get("/metrics").body.decode().splitlines()
                          if line.startswith("vllm:prompt_tokens_cached_total")))
    before = hits()
    told = bench("serve", "--num-prompts", 6, "--max-concurrency", 1, "--dataset-name", "prefix_repetition",
                 "--prefix-repetition-num-prefixes", 2,
                 "--prefix-repetition-prefix-len", 64, "--prefix-repetition-suffix-len", 8, "--random-output-len", 2,
                 "--seed", 77)
    assert told.returncode == 0, told.stderr
    wait_for(lambda: hits() - before >= 4 * 48, "all but the first of each prefix")


def test_chats_of_a_file(bench, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "Which port does the gale API use by default?", "output_tokens": 5}\n{"prompt": "hi", '
                    '"output_tokens": 3}\n')
    told = bench("serve", "--backend", "openai-chat", "--dataset-name", "custom", "--dataset-path", file,
                 "--num-prompts", 4)
    assert told.returncode == 0, told.stdout + told.stderr
    assert values(told.stdout)["Total generated tokens"] == 16
    file.write_text('{"prompt": "hi"}\n{"prompt": 5}\n')
    told = bench("serve", "--backend", "openai-chat", "--dataset-name", "custom", "--dataset-path", file,
                 "--num-prompts", 4)
    assert told.returncode == 2 and "entry 2" in told.stderr
    conversations = tmp_path / "sharegpt.json"
    conversations.write_text(json.dumps([{"conversations": [{"value": "gale is"}, {"value": "an inference server"}]}]))
    told = bench("serve", "--dataset-name", "sharegpt", "--dataset-path", conversations, "--num-prompts", 2)
    assert told.returncode == 0 and values(told.stdout)["Total generated tokens"] > 2, told.stdout + told.stderr


def test_a_sweep_has_a_table_and_a_plot(bench, tmp_path):
    told = bench("serve", *SMALL, "--sweep", 1, 2, "--sweep-plot", "sweep.svg")
    assert told.returncode == 0, told.stderr
    rows = [line.split() for line in told.stdout.splitlines() if line[:11].strip().isdigit()]
    assert [row[0] for row in rows] == ["1", "2"] and all(float(row[4]) > 0 for row in rows)
    plot = ElementTree.parse(tmp_path / "sweep.svg").getroot()
    assert plot.tag.endswith("svg") and len(plot.findall(".//{*}polyline")) == 4


def test_a_ramp_starts_slowly(bench, tmp_path):
    ramp = ("--ramp-up-strategy", "exponential", "--ramp-up-start-rps", 0.5, "--ramp-up-end-rps", 500)
    told = bench("serve", *SMALL, *ramp, "--save-result", "--save-detailed", "--result-filename", "ramp.json")
    assert told.returncode == 0, told.stderr
    starts = json.loads((tmp_path / "ramp.json").read_text())["start_times"]
    gaps = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert gaps[0] > 10 * min(gaps[1:])     # one of these may be long on a busy machine, not all


def test_throughput_and_latency_speak_as_vllm_does(bench, tmp_path):
    told = bench("throughput", *SMALL, "--output-json", "t.json")
    assert told.returncode == 0 and "Throughput: " in told.stdout and "total tokens/s" in told.stdout, told.stderr
    assert json.loads((tmp_path / "t.json").read_text())["total_num_tokens"] == 6 * 20
    told = bench("latency", "--input-len", 8, "--output-len", 4, "--batch-size", 2, "--num-iters-warmup", 1,
                 "--num-iters", 3, "--output-json", "l.json")
    assert told.returncode == 0, told.stderr
    assert "Avg latency: " in told.stdout and "99% percentile latency: " in told.stdout
    assert len(json.loads((tmp_path / "l.json").read_text())["latencies"]) == 3


@pytest.mark.parametrize("arguments, word", [(("--goodput", "ttft"), "goodput"), (("--dataset-name", "custom"), "file"),
                                             (("--extra-body", "[]"), "extra"),
                                             (("--backend", "openai-chat"), "text")])
def test_wrong_usage_is_exit_2(bench, arguments, word):
    told = bench("serve", *SMALL, *arguments)
    assert told.returncode == 2 and word in told.stderr, told.stderr
