#!/usr/bin/env python3
"""gale against transformers on the same card: random weights of the true widths, a few layers deep.

    python3 tools/gpu/transformers_compare.py --gale PATH [--models 9b flash 46v] [--layers 3] [--prompts 4]
        [--length 384]

Writes a checkpoint with transformers, asks both for the log-probability of every prompt token, and prints how far gale
(bf16 and FP8) and transformers in bf16 are from transformers in fp32. Fails where gale in bf16 is further away than 1.3
times the latter.
"""

import argparse
import gc
import json
import pathlib
import random
import sys
import tempfile

import torch
import transformers

from make_dummy_models import CHAT_TEMPLATE, MODELS, tokenizer
from served_model import ServedCheckpoint, device_name

CLASSES = {"9b": "Glm4", "flash": "Glm4MoeLite", "46v": "Glm4Moe"}


def write_checkpoint(name, layers, folder):
    """Weights that keep activations near 1, a router and a correction bias that tell experts apart."""
    kind = CLASSES[name]
    values = {k: v for k, v in MODELS[name].items() if k not in ("architectures", "model_type", "dtype")}
    values |= {"num_hidden_layers": layers, "num_nextn_predict_layers": 0, "eos_token_id": None, "pad_token_id": None}
    if name != "9b":
        values["first_k_dense_replace"] = 1
    config = getattr(transformers, kind + "Config")(**values)
    torch.manual_seed(7)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = getattr(transformers, kind + "ForCausalLM")(config)
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for key, weight in list(model.named_parameters()) + list(model.named_buffers()):
            if "e_score_correction_bias" in key:
                weight.uniform_(-0.05, 0.05)
            elif weight.dim() == 1 and "norm" in key:
                weight.uniform_(0.8, 1.2)
            elif weight.dim() >= 2:
                weight.normal_(0, weight.shape[-1] ** -0.5)
            elif "bias" in key:
                weight.normal_(0, 0.1)
    model.save_pretrained(folder, max_shard_size="4GB")
    written = json.loads((folder / "config.json").read_text())
    written |= {"eos_token_id": [config.vocab_size - 1], "pad_token_id": config.vocab_size - 1}
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": written["eos_token_id"]}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(config.vocab_size), ensure_ascii=False))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return model


@torch.no_grad()
def reference_logprobs(model, prompts):
    out = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device="cuda")
        logits = model(ids).logits[0, :-1].float()
        out.append(torch.log_softmax(logits, -1).gather(-1, ids[0, 1:, None])[:, 0].cpu())
    return out


def gale_logprobs(options, folder, precision, prompts):
    flags = f"--max-model-len {options.length + 64}" + (" --quantization fp8" if precision == "fp8" else "")
    with ServedCheckpoint(options.gale, folder, flags) as server:
        out = []
        for prompt in prompts:
            answer = server.post(
                "/v1/completions", {"prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}
            )
            out.append(torch.tensor(answer["choices"][0]["logprobs"]["token_logprobs"][1 : len(prompt)]))
        return out


def distance(found, expected):
    difference = torch.cat(found) - torch.cat(expected)
    return difference.abs().mean().item(), difference.abs().quantile(0.99).item(), difference.abs().max().item()


def compare(options, name):
    layers = options.layers
    with tempfile.TemporaryDirectory(dir=options.folder) as keeper:
        folder = pathlib.Path(keeper)
        model = write_checkpoint(name, layers, folder)
        draws = random.Random(3)
        prompts = [[draws.randrange(256, 150000) for _ in range(options.length)] for _ in range(options.prompts)]
        in_bf16 = reference_logprobs(model, prompts)
        model.float()
        in_fp32 = reference_logprobs(model, prompts)
        del model
        gc.collect()
        torch.cuda.empty_cache()
        rows = {"transformers bf16": distance(in_bf16, in_fp32)}
        for precision in ("bf16", "fp8"):
            rows[f"gale {precision}"] = distance(gale_logprobs(options, folder, precision, prompts), in_fp32)
    spread = torch.cat(in_fp32).std().item()
    print(
        f"{name}, {layers} layers, {options.prompts} x {options.length} tokens; log-probabilities of tokens against "
        f"transformers in fp32 (their own spread: {spread:.3f})"
    )
    for title, (mean, high, most) in rows.items():
        print(f"  {title:18s} mean {mean:.5f}  99th of a hundred {high:.5f}  largest {most:.5f}")
    return rows["gale bf16"][0] <= 1.3 * rows["transformers bf16"][0]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gale", required=True)
    arguments.add_argument("--models", nargs="+", default=list(CLASSES))
    arguments.add_argument("--layers", type=int, default=3)
    arguments.add_argument("--prompts", type=int, default=4)
    arguments.add_argument("--length", type=int, default=384)
    arguments.add_argument("--folder", default="/dev/shm", help="where the checkpoint is written: 2 to 20 GB")
    options = arguments.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{device_name()}, transformers {transformers.__version__}, torch {torch.__version__}")
    results = [compare(options, name) for name in options.models]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
