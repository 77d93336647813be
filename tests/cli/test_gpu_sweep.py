"""tools/gpu/sweep.py: levels of users that one server is measured at are independent of each other."""

import argparse
import json
import sys

import pytest
from gale_server import ROOT, free_port

sys.path.insert(0, str(ROOT / "tools/gpu"))
import make_dummy_models  # noqa: E402
import served_model  # noqa: E402
import sweep  # noqa: E402

TINY = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 2, "head_dim": 32, "intermediate_size": 64}


@pytest.fixture
def options(binary, tmp_path):
    return argparse.Namespace(
        **{"gale": str(binary.resolve()), "model": "9b", "precision": "bf16", "flags": "", "layers": None},
        **{"input": 64, "output": 4, "range_ratio": 0.0, "timeout": 300},
        **{"ledger": str(tmp_path / "ledger.jsonl"), "commit": "abc"},
    )


@pytest.fixture
def tiny_server(options, tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setattr(served_model, "nvidia_smi", lambda field: None)
    monkeypatch.setattr(served_model, "PORT", port)
    monkeypatch.setattr(served_model, "URL", f"http://127.0.0.1:{port}")
    config = make_dummy_models.MODELS["9b"] | TINY
    config |= {"eos_token_id": [config["vocab_size"] - 1]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = make_dummy_models.tokenizer(config["vocab_size"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (tmp_path / "chat_template.jinja").write_text(make_dummy_models.CHAT_TEMPLATE)
    flags = "--device cpu --load-format dummy --max-model-len 256 --kv-cache-memory-bytes 16777216"
    with served_model.ServedCheckpoint(options.gale, tmp_path, flags) as server:
        yield server


def seeds_given(monkeypatch):
    seeds, run = [], served_model.subprocess.run

    def watched(command, **others):
        if "--seed" in command:
            seeds.append(command[command.index("--seed") + 1])
        return run(command, **others)

    monkeypatch.setattr(served_model.subprocess, "run", watched)
    return seeds


def test_no_level_knows_the_prompts_of_the_one_before(options, tiny_server, monkeypatch):
    seeds = seeds_given(monkeypatch)
    for users in (2, 4):
        lines = sweep.measure(options, tiny_server, users)
        figures = {line["metric"]: line["value"] for line in lines}
        assert figures["output_tok_s"] > 0 and figures["prompt_tokens_cached"] == 0, figures
    assert seeds == ["0", "1"]
    assert tiny_server.metric("vllm:prompt_tokens") == (1 + 8 + 1 + 16) * 64


def test_prompts_that_the_cache_knew_are_no_figure(options, tiny_server, capsys):
    assert sweep.measure(options, tiny_server, 2)
    tiny_server._num_benches = 0
    with pytest.raises(SystemExit, match=r"users 2: \d+ of 576 prompt tokens came from the prefix cache, .*nothing"):
        sweep.measure(options, tiny_server, 2)
    options.ledger, tiny_server._num_benches = None, 0
    assert sweep.measure(options, tiny_server, 2), "a sweep that writes nothing only says so"
    assert "prompt_tokens_cached" in capsys.readouterr().out
