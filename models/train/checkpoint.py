"""Writing and reading a checkpoint in the official layout of Glm4MoeLiteForCausalLM or Glm4ForCausalLM."""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

from glm4 import Glm4Config, NanoGlm4
from model import ModelConfig, NanoFlash

SHARD_BYTES = 12 * 1000 * 1000
MTP_NORMS = {"enorm.weight": "enorm.weight", "hnorm.weight": "hnorm.weight", "eh_proj.weight": "eh_proj.weight",
             "shared_head_norm.weight": "shared_head.norm.weight"}


def official_names(model: NanoFlash | NanoGlm4):
    """Yields (official name, tensor view) for every tensor of the model, in the order of the layers."""
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    state = {name: tensor for name, tensor in state.items() if not name.endswith(".load")}
    mtp_index = model.c.num_hidden_layers
    for name, tensor in state.items():
        if name == "lm_head.weight":
            yield name, tensor
        elif name.startswith("mtp.layer."):
            yield from expand_moe(f"model.layers.{mtp_index}.{name.removeprefix('mtp.layer.')}", tensor)
        elif name.startswith("mtp."):
            yield f"model.layers.{mtp_index}.{MTP_NORMS[name.removeprefix('mtp.')]}", tensor
        else:
            yield from expand_moe("model." + name, tensor)


def expand_moe(name: str, tensor):
    """Splits a stack of experts into one tensor each; the last of the stack is the shared expert."""
    prefix, _, last = name.rpartition(".")
    if last == "router":
        yield f"{prefix}.gate.weight", tensor
    elif last == "correction_bias":
        yield f"{prefix}.gate.e_score_correction_bias", tensor
    elif tensor.dim() == 3:
        for expert in range(tensor.shape[0] - 1):
            yield f"{prefix}.experts.{expert}.{last}.weight", tensor[expert]
        yield f"{prefix}.shared_experts.{last}.weight", tensor[-1]
    else:
        yield name, tensor


def stored(name: str, tensor):
    """bf16, but for the correction bias, which stays float32."""
    dtype = torch.float32 if name.endswith("e_score_correction_bias") else torch.bfloat16
    return tensor.detach().to("cpu", dtype).contiguous().clone()


def write_weights(model: NanoFlash | NanoGlm4, folder: pathlib.Path):
    shards, size = [{}], 0
    for name, tensor in official_names(model):
        tensor = stored(name, tensor)
        bytes_here = tensor.numel() * tensor.element_size()
        if shards[-1] and size + bytes_here > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += bytes_here
    weight_map, parameters = {}, 0
    for old in folder.glob("model-*.safetensors"):
        old.unlink()
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)
        weight_map |= dict.fromkeys(shard, file)
        parameters += sum(tensor.numel() for tensor in shard.values())
    total = sum(t.numel() * t.element_size() for shard in shards for t in shard.values())
    index = {"metadata": {"total_parameters": parameters, "total_size": total}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def flash_keys(c: ModelConfig) -> dict:
    return {
        "architectures": ["Glm4MoeLiteForCausalLM"], "model_type": "glm4_moe_lite", "attention_bias": False,
        "first_k_dense_replace": c.first_k_dense_replace, "kv_lora_rank": c.kv_lora_rank,
        "moe_intermediate_size": c.moe_intermediate_size, "n_group": 1, "n_routed_experts": c.n_routed_experts,
        "n_shared_experts": 1, "norm_topk_prob": True, "num_experts_per_tok": c.num_experts_per_tok,
        "num_key_value_heads": c.num_attention_heads, "num_nextn_predict_layers": 1, "partial_rotary_factor": 1.0,
        "q_lora_rank": c.q_lora_rank, "qk_nope_head_dim": c.qk_nope_head_dim, "qk_rope_head_dim": c.qk_rope_head_dim,
        "rope_scaling": None, "routed_scaling_factor": c.routed_scaling_factor, "topk_group": 1,
        "topk_method": "noaux_tc", "v_head_dim": c.v_head_dim}


def glm4_keys(c: Glm4Config) -> dict:
    return {
        "architectures": ["Glm4ForCausalLM"], "model_type": "glm4", "attention_bias": True, "head_dim": c.head_dim,
        "num_key_value_heads": c.num_key_value_heads, "partial_rotary_factor": c.partial_rotary_factor}


def write_configs(c: ModelConfig | Glm4Config, folder: pathlib.Path, first_added_token: int):
    """config.json with the keys of the official one, and generation_config.json."""
    eos = [first_added_token, first_added_token + 7, first_added_token + 9]
    config = (glm4_keys(c) if isinstance(c, Glm4Config) else flash_keys(c)) | {
        "attention_dropout": 0.0, "dtype": "bfloat16", "eos_token_id": eos, "pad_token_id": first_added_token,
        "hidden_act": "silu", "hidden_size": c.hidden_size, "intermediate_size": c.intermediate_size,
        "max_position_embeddings": c.max_position_embeddings, "num_attention_heads": c.num_attention_heads,
        "num_hidden_layers": c.num_hidden_layers, "rms_norm_eps": c.rms_norm_eps, "rope_theta": int(c.rope_theta),
        "tie_word_embeddings": False, "transformers_version": "5.0.0", "use_cache": True, "vocab_size": c.vocab_size}
    write_json(folder / "config.json", config)
    # A tiny model wanders when sampled hot; this stays close to its best guess and still varies small talk.
    write_json(folder / "generation_config.json", {
        "do_sample": True, "eos_token_id": eos, "pad_token_id": first_added_token,
        "temperature": 0.3, "top_p": 0.9, "transformers_version": "5.0.0"})


def write_json(path: pathlib.Path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


MODELS = {"glm4_moe_lite": (ModelConfig, NanoFlash), "glm4": (Glm4Config, NanoGlm4)}


def read_model(folder: pathlib.Path) -> NanoFlash | NanoGlm4:
    """The training module with the checkpoint's (bf16-rounded) weights in float32."""
    tensors = {}
    for file in sorted(folder.glob("model-*.safetensors")):
        tensors |= load_file(file)
    keys = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    make_config, make_model = MODELS[keys["model_type"]]
    model = make_model(make_config(**{key: keys[key] for key in make_config.__dataclass_fields__}))
    with torch.no_grad():
        for name, target in official_names(model):
            target.copy_(tensors.pop(name))
    if tensors:
        raise ValueError(f"tensors without a place: {sorted(tensors)[:5]}")
    return model.eval()
