#!/usr/bin/env python3
"""Model folders without weights, for `gale serve --load-format dummy`: config.json of the published sizes, a byte-level
tokenizer in which every id prints something (a token without text would make no event, and falsify times), a plain chat
template.

    python3 tools/gpu/make_dummy_models.py DIR [--layers N] [9b] [flash] [46v]

--layers cuts the depth: for trying things, never for figures."""

import argparse
import json
import pathlib

COMMON = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
    "use_cache": True,
}
MOE = {"n_shared_experts": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "first_k_dense_replace": 1}
MODELS = {
    # GLM-4-9B-0414, the text half of GLM-4.6V-Flash
    "9b": {
        **COMMON,
        "architectures": ["Glm4ForCausalLM"],
        "model_type": "glm4",
        "hidden_size": 4096,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "intermediate_size": 13696,
        "vocab_size": 151552,
        "attention_bias": True,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "partial_rotary_factor": 0.5,
    },
    # GLM-4.7-Flash
    "flash": {
        **COMMON,
        **MOE,
        "architectures": ["Glm4MoeLiteForCausalLM"],
        "model_type": "glm4_moe_lite",
        "hidden_size": 2048,
        "num_hidden_layers": 47,
        "intermediate_size": 10240,
        "moe_intermediate_size": 1536,
        "n_routed_experts": 64,
        "num_experts_per_tok": 4,
        "topk_method": "noaux_tc",
        "routed_scaling_factor": 1.8,
        "num_attention_heads": 20,
        "num_key_value_heads": 20,
        "q_lora_rank": 768,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 192,
        "qk_rope_head_dim": 64,
        "v_head_dim": 256,
        "attention_bias": False,
        "partial_rotary_factor": 1.0,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 202752,
        "vocab_size": 154880,
        "num_nextn_predict_layers": 1,
    },
    # GLM-4.5-Air, the text half of GLM-4.6V
    "46v": {
        **COMMON,
        **MOE,
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "hidden_size": 4096,
        "num_hidden_layers": 46,
        "intermediate_size": 10944,
        "moe_intermediate_size": 1408,
        "n_routed_experts": 128,
        "num_experts_per_tok": 8,
        "routed_scaling_factor": 1.0,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "attention_bias": True,
        "use_qk_norm": False,
        "partial_rotary_factor": 0.5,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 131072,
        "vocab_size": 151552,
        "num_nextn_predict_layers": 0,
    },
}
CHAT_TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}<|assistant|>"


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(other)}


def tokenizer(vocab_size):
    alphabet = byte_alphabet()
    vocab = {alphabet[b]: b for b in range(256)}
    vocab |= {f"{alphabet[32]}t{i}": i for i in range(256, vocab_size)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": vocab,
            "merges": [],
        },
    }


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("models", nargs="*", default=list(MODELS))
    arguments.add_argument("--layers", type=int)
    options = arguments.parse_intermixed_args()
    for name in options.models:
        config = dict(MODELS[name])
        config |= {"eos_token_id": [config["vocab_size"] - 1], "pad_token_id": config["vocab_size"] - 1}
        if options.layers:
            config["num_hidden_layers"] = options.layers
        folder = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        (folder / "generation_config.json").write_text(
            json.dumps({"eos_token_id": config["eos_token_id"], "temperature": 1.0})
        )
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer(config["vocab_size"]), ensure_ascii=False))
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        print(folder)


if __name__ == "__main__":
    main()
