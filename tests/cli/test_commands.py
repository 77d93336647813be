"""The commands as a person types them."""

import json
import subprocess

import pytest
from gale_server import NANO_FLASH, ROOT, GaleServer


def run(binary, *arguments, **more):
    return subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=ROOT,
                          **more)


def test_the_options_page_is_what_the_program_prints(binary):
    printed = run(binary, "--help=markdown")
    assert printed.returncode == 0
    page = (ROOT / "docs" / "options.md").read_text()
    assert printed.stdout == page, "docs/options.md is stale: gale --help=markdown writes it"


def test_help_and_version(binary):
    assert "--max-num-seqs" in run(binary, "serve", "--help").stdout
    assert "gale serve MODEL" in run(binary, "--help").stdout
    assert run(binary, "--version").stdout.strip()


def test_inspect_tells_architecture_tensors_and_plan(binary):
    told = run(binary, "inspect", NANO_FLASH, "--tensors", "--kernels")
    assert told.returncode == 0, told.stderr
    for needle in ("Glm4MoeLiteForCausalLM", "model.embed_tokens.weight", "users x", "paged_attention"):
        assert needle in told.stdout, needle


def test_inspect_names_what_is_wrong(binary, tmp_path):
    (tmp_path / "config.json").write_text("{")
    told = run(binary, "inspect", tmp_path)
    assert told.returncode == 3 and "config.json" in told.stderr and told.stderr.count("\n") == 1


def test_doctor_finds_the_built_in_model_whole(binary):
    told = run(binary, "doctor", NANO_FLASH)
    assert told.returncode == 0, told.stdout
    assert "tokenizer reads" in told.stdout and "memory:" in told.stdout


@pytest.mark.parametrize("arguments, needle", [
    (["serve", NANO_FLASH, "--max-num-seqs", "many"], "--max-num-seqs"),
    (["serve", NANO_FLASH, "--quantization", "awq"], "--quantization"),
    (["serve", NANO_FLASH, "--tensor-parallel-size", "2"], "--tensor-parallel-size"),
    (["sevre", NANO_FLASH], "serve"),
])
def test_wrong_usage_is_one_line_and_exit_2(binary, arguments, needle):
    told = run(binary, *arguments)
    assert told.returncode == 2 and needle in told.stderr


def test_fp8_on_a_processor_is_refused_in_one_line(binary):
    told = run(binary, "serve", NANO_FLASH, "--quantization", "fp8")
    assert told.returncode == 3 and "FP8" in told.stderr


def test_a_config_file_takes_the_same_names(binary, tmp_path):
    file = tmp_path / "gale.toml"
    file.write_text('max-model-len = 512\nserved-model-name = ["tiny"]\n')
    with GaleServer(binary, "--config", file) as server:
        card = server.get("/v1/models").json_body()["data"][0]
        assert (card["id"], card["max_model_len"]) == ("tiny", 512)
    file.write_text("max-model-length = 512\n")
    told = run(binary, "serve", NANO_FLASH, "--config", file)
    assert told.returncode == 2 and "max-model-len" in told.stderr


def test_chat_and_bench_talk_to_a_server(binary, server):
    for url in (server.base_url, server.base_url + "/v1"):
        said = run(binary, "chat", "--url", url, "-q", "Which port does the gale API use by default?", "--stats")
        assert said.returncode == 0 and "8000" in said.stdout and "tokens/s" in said.stdout
    measured = run(binary, "bench", "serve", "--base-url", server.base_url, "--num-prompts", 6, "--max-concurrency", 2,
                   "--random-input-len", 32, "--random-output-len", 8)
    assert measured.returncode == 0, measured.stderr
    lines = measured.stdout.splitlines()
    assert "============ Serving Benchmark Result ============" in lines
    figures = dict(line.rsplit(":", 1) for line in lines if ":" in line)
    assert int(figures["Successful requests"]) == 6 and int(figures["Total generated tokens"]) == 48


def test_bench_saves_its_result(binary, server, tmp_path):
    run(binary, "bench", "serve", "--base-url", server.base_url, "--num-prompts", 2, "--random-input-len", 8,
        "--random-output-len", 4, "--save-result", "--result-dir", tmp_path)
    result = json.loads(next(tmp_path.iterdir()).read_text())
    assert result["completed"] == 2 and result["total_output_tokens"] == 8
