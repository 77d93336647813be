#!/usr/bin/env python3
"""What a perfect machine would reach in the closed loops of perf/rows.json: the bounds of their rows.

    python3 tools/perf_bound.py [--card H200]

Each step reads what it needs of the weights and the cache once, and takes as many prompt tokens as its arithmetic
leaves room for meanwhile; where nobody answers yet, as many as the weights take to read. Experts that a step touches
are those of independent, even choices. Nothing else costs anything: no launches, no host, no HTTP."""

import argparse
import dataclasses
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/gpu"))
from make_dummy_models import MODELS  # noqa: E402

MEMORY = {"H100": 3.0e12, "H200": 4.3e12}  # bytes a second that copies reach
ARITHMETIC = {"bf16": 680e12, "fp8": 1320e12}  # sustained, of both cards


@dataclasses.dataclass
class Model:
    """Numbers of weights of a layer, of what all of them share and of what stays in 16 bits."""

    layers: int
    dense_layers: int
    attention: int  # of a layer, without what stays in 16 bits
    attention_16: int
    dense: int  # of a layer without experts
    expert: int
    experts: int
    chosen: int
    shared: int
    head: int
    cache_bytes: int  # a token and layer, in FP8
    pair_flops: int  # of a query and a key that it sees, a layer, as prompts are computed; always in 16 bits
    answer_pair_flops: int  # the same of an answer: MLA is absorbed there

    def touched(self, tokens):
        return self.experts * (1 - (1 - self.chosen / self.experts) ** tokens) if self.experts else 0

    def weight_bytes(self, precision, tokens):
        size = 1 if precision == "fp8" else 2
        experts = (self.layers - self.dense_layers) * self.expert * (self.touched(tokens) + self.shared)
        narrow = self.layers * self.attention + self.dense_layers * self.dense + experts
        return size * narrow + 2 * (self.layers * self.attention_16 + self.head)

    def token_flops(self):
        """Without attention and the head, which prompts need once."""
        experts = (self.layers - self.dense_layers) * self.expert * (self.chosen + self.shared)
        return 2 * (self.layers * (self.attention + self.attention_16) + self.dense_layers * self.dense + experts)


def gated(width, inner):
    return 3 * width * inner


def model_of(config):
    """From a config.json."""
    width, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    if "kv_lora_rank" in config:
        latent, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
        q_rank, nope, value = config["q_lora_rank"], config["qk_nope_head_dim"], config["v_head_dim"]
        attention = width * (q_rank + latent + rope) + q_rank * heads * (nope + rope) + heads * value * width
        attention_16, cache_bytes = heads * latent * (nope + value), latent + rope
        pairs = 2 * heads * (nope + rope + value), 2 * heads * (latent + rope + latent)
    else:
        head, kv_heads = config["head_dim"], config["num_key_value_heads"]
        attention, attention_16 = width * head * (2 * heads + 2 * kv_heads), 0
        cache_bytes, pairs = 2 * kv_heads * head, (4 * heads * head,) * 2
    experts = config.get("n_routed_experts", 0)
    return Model(
        layers=layers,
        dense_layers=config["first_k_dense_replace"] if experts else layers,
        attention=attention,
        attention_16=attention_16,
        dense=gated(width, config["intermediate_size"]),
        expert=gated(width, config.get("moe_intermediate_size", 0)),
        experts=experts,
        chosen=config.get("num_experts_per_tok", 0),
        shared=config.get("n_shared_experts", 0),
        head=config["vocab_size"] * width,
        cache_bytes=cache_bytes,
        pair_flops=pairs[0],
        answer_pair_flops=pairs[1],
    )


class Loop:
    """A closed loop of users, step by step."""

    def __init__(self, row):
        self.model, self.precision = model_of(MODELS[row["model"]]), row["precision"]
        self.input, self.output, self.users = row["input"], row["output"], row["users"]
        self.memory, self.arithmetic = MEMORY[row["card"]], ARITHMETIC[row["precision"]]
        self.num_left = self.users * (2 if self.users >= 256 else 3 if self.users >= 8 else 4)
        self.answering = []  # tokens that each has
        self.prompts = []  # tokens of each that are still to come
        self.seconds = 0.0

    def arrive(self, count):
        count = min(count, self.num_left)
        self.num_left -= count
        self.prompts += [self.input] * count

    def step_seconds(self):
        """Of reading."""
        cached = sum(self.input + tokens for tokens in self.answering)
        read = cached * self.model.layers * self.model.cache_bytes
        # Prompts that come along touch all experts.
        tokens = self.input if self.prompts else len(self.answering)
        return (self.model.weight_bytes(self.precision, tokens) + read) / self.memory

    def answer_seconds(self):
        """Of arithmetic, for all answers of a step."""
        count, model, in_16_bits = len(self.answering), self.model, ARITHMETIC["bf16"]
        pairs = count * self.input + sum(self.answering)
        attention = pairs * model.layers * model.answer_pair_flops + 2 * count * model.head
        return count * model.token_flops() / self.arithmetic + attention / in_16_bits

    def prompt_token_seconds(self):
        attention = self.input / 2 * self.model.pair_flops * self.model.layers
        return self.model.token_flops() / self.arithmetic + attention / ARITHMETIC["bf16"]

    def step(self):
        answers = self.answer_seconds()
        seconds = max(self.step_seconds(), answers)
        room = (seconds - answers) / self.prompt_token_seconds()
        self.answering = [tokens + 1 for tokens in self.answering]
        while self.prompts and room > 0:
            taken = min(room, self.prompts[0])
            self.prompts[0] -= taken
            room -= taken
            if self.prompts[0] <= 1e-9:
                self.prompts.pop(0)
                self.answering.append(1)
        self.seconds += seconds
        still = [tokens for tokens in self.answering if tokens < self.output]
        self.arrive(len(self.answering) - len(still))
        self.answering = still

    def run(self):
        total = self.num_left
        self.arrive(self.users)
        while self.prompts or self.answering:
            self.step()
        return total * self.output / self.seconds


def bound_of(row):
    """In the row's own metric."""
    if row["metric"] == "tpot_mean_ms":
        loop = Loop(row)
        loop.answering = [row["output"] // 2]
        return loop.step_seconds() * 1e3
    tokens = Loop(row).run()
    return tokens if row["metric"] == "output_tok_s" else tokens * (row["input"] + row["output"]) / row["output"]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--card", choices=MEMORY)
    options = arguments.parse_args()
    for row in json.loads((ROOT / "perf/rows.json").read_text(encoding="utf-8")):
        if options.card in (None, row["card"]):
            given = row["bound"] or float("nan")
            own = bound_of(row)
            names = f"{row['model']} {row['precision']} {row['card']} {row['users']:5} {row['input']:5}"
            print(f"{names} {row['metric']}: {own:10.2f}  given {given:9.2f}  {own / given:.3f}", flush=True)


if __name__ == "__main__":
    main()
