#!/usr/bin/env python3
"""Tiny random checkpoints of each architecture and what transformers computes with them.

    python3 tests/golden/models/make_goldens.py [case ...]      # writes tests/golden/models/data/<case>/

Needs torch and transformers (CPU); the test that reads the result needs neither. See README.md beside this file.
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support"))
from fp8_layout import FP8_CONFIG, LINEAR  # noqa: E402

PROMPT_LENGTHS = (1, 9, 23)
NUM_GREEDY = 64
MIN_MARGIN = 5e-4        # of a greedy choice, as a share of the largest |logit|; a seed with less is passed over
MIN_ROUTER_GAP = 2e-4    # between the last chosen and the first refused biased score
MAX_BF16_ERROR = 2.2e-2  # of bf16 arithmetic, as a share of the largest |logit|: no expert flipped

VISION = dict(depth=2, hidden_size=16, num_heads=2, in_channels=3, image_size=12, patch_size=4, temporal_patch_size=2,
              spatial_merge_size=2, out_hidden_size=24, intermediate_size=20, attention_bias=False, hidden_act="silu",
              rms_norm_eps=1e-5)
LITE = dict(vocab_size=97, hidden_size=40, intermediate_size=44, moe_intermediate_size=16, num_hidden_layers=3,
            num_attention_heads=3, num_key_value_heads=3, n_routed_experts=7, n_shared_experts=1, num_experts_per_tok=3,
            n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.8, q_lora_rank=22, kv_lora_rank=20,
            qk_nope_head_dim=14, qk_rope_head_dim=6, v_head_dim=10, rope_theta=50000.0, partial_rotary_factor=1.0,
            mlp_layer_types=["dense", "sparse", "sparse"])
DENSE = dict(vocab_size=97, hidden_size=40, intermediate_size=52, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=3, head_dim=16, attention_bias=True, rope_theta=500.0, partial_rotary_factor=0.5)
MOE = dict(vocab_size=97, hidden_size=40, intermediate_size=52, moe_intermediate_size=18, num_hidden_layers=3,
           num_attention_heads=8, num_key_value_heads=2, head_dim=12, attention_bias=True, n_routed_experts=6,
           n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1, norm_topk_prob=True,
           routed_scaling_factor=1.0, first_k_dense_replace=1, rope_theta=700.0, partial_rotary_factor=0.5)

# name: (class, text config, dtype, config style, number of MTP layers to add)
CASES = {
    "glm4_moe_lite_f32": ("Glm4MoeLite", LITE, "float32", "new", 1),
    "glm4_moe_lite_bf16": ("Glm4MoeLite", dict(LITE, num_attention_heads=5, num_key_value_heads=5, num_hidden_layers=2,
                           n_routed_experts=8, n_group=2, topk_group=1, num_experts_per_tok=2,
                           mlp_layer_types=["sparse", "dense"]), "bfloat16", "old", 0),
    "glm4_f32": ("Glm4", DENSE, "float32", "new", 0),
    "glm4_bf16": ("Glm4", dict(DENSE, num_attention_heads=8, num_key_value_heads=2, head_dim=12, num_hidden_layers=2),
                  "bfloat16", "old", 0),
    "glm4v_f32": ("Glm4v", dict(DENSE, hidden_size=48, head_dim=None, num_attention_heads=4, num_key_value_heads=2,
                  partial_rotary_factor=2 / 3, mrope_section=[1, 1, 2]), "float32", "new", 0),
    "glm4v_bf16": ("Glm4v", dict(DENSE, hidden_size=48, head_dim=None, num_attention_heads=4, num_key_value_heads=1,
                   partial_rotary_factor=0.5, num_hidden_layers=2, mrope_section=[1, 1, 1]), "bfloat16", "old", 0),
    "glm4_moe_f32": ("Glm4Moe", dict(MOE, use_qk_norm=True, routed_scaling_factor=1.7), "float32", "new", 1),
    "glm4_moe_bf16": ("Glm4Moe", dict(MOE, use_qk_norm=False, num_hidden_layers=2, norm_topk_prob=False),
                      "bfloat16", "old", 0),
    "glm4_moe_fp8": ("Glm4Moe", dict(MOE, use_qk_norm=False, routed_scaling_factor=1.5), "fp8", "old", 1),
    "glm4_moe_lite_fp8": ("Glm4MoeLite", dict(LITE, num_attention_heads=5, num_key_value_heads=5, num_hidden_layers=2,
                          n_routed_experts=8, n_group=2, topk_group=1, num_experts_per_tok=2,
                          mlp_layer_types=["sparse", "dense"]), "fp8", "old", 0),
    "glm4v_moe_f32": ("Glm4vMoe", dict(MOE, mrope_section=[1, 1, 1]), "float32", "new", 0),
    "glm4v_moe_bf16": ("Glm4vMoe", dict(MOE, num_hidden_layers=2, num_attention_heads=4, mrope_section=[1, 0, 2]),
                       "bfloat16", "old", 0),
}
VISION_KINDS = ("Glm4v", "Glm4vMoe")
ROPE_KEYS = ("rope_theta", "partial_rotary_factor", "mrope_section")
COMMON = dict(hidden_act="silu", rms_norm_eps=1e-5, max_position_embeddings=512, attention_dropout=0.0,
              tie_word_embeddings=False, pad_token_id=None, bos_token_id=None, eos_token_id=[1])


def hf_config(kind, text):
    rope = {key: text[key] for key in ROPE_KEYS if key in text} | {"rope_type": "default"}
    flat = {k: v for k, v in text.items() if k not in ROPE_KEYS and v is not None}
    flat = dict(COMMON, **flat, rope_parameters=rope)
    if kind in VISION_KINDS:
        ids = {name + "_token_id": 90 + i for i, name in enumerate(
            ("image", "video", "image_start", "image_end", "video_start", "video_end"))}
        return getattr(transformers, kind + "Config")(
            text_config=flat, vision_config=dict(VISION), tie_word_embeddings=False, **ids)
    return getattr(transformers, kind + "Config")(**flat)


def model_class(kind):
    return getattr(transformers, kind + ("ForConditionalGeneration" if kind in VISION_KINDS else "ForCausalLM"))


def randomise(model, generator):
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        noise = torch.randn(tensor.shape, generator=generator)
        if "inv_freq" in name:
            continue
        if name.endswith("e_score_correction_bias"):
            value = 0.4 * noise
        elif tensor.dim() == 1:
            value = 0.3 * noise if name.endswith("bias") else 1 + 0.25 * noise
        elif "embed_tokens" in name:
            value = noise
        else:
            value = noise * 1.3 / tensor.shape[-1] ** 0.5
        tensor.data.copy_(value)


def fix_latent_eps(model):
    """transformers builds the latent norms with its class default 1e-6; the models were trained with 1e-5."""
    for name, module in model.named_modules():
        if name.endswith(("q_a_layernorm", "kv_a_layernorm")):
            module.variance_epsilon = 1e-5


def official_names(state):
    """A tensor an expert, as the published checkpoints have it; transformers holds them stacked."""
    out = {}
    for name, tensor in state.items():
        if name.endswith("mlp.experts.gate_up_proj"):
            inner = tensor.shape[1] // 2
            for e in range(tensor.shape[0]):
                out[f"{name[:-12]}{e}.gate_proj.weight"] = tensor[e, :inner]
                out[f"{name[:-12]}{e}.up_proj.weight"] = tensor[e, inner:]
        elif name.endswith("mlp.experts.down_proj"):
            for e in range(tensor.shape[0]):
                out[f"{name[:-9]}{e}.down_proj.weight"] = tensor[e]
        else:
            out[name] = tensor
    return {name: tensor.contiguous().clone() for name, tensor in out.items()}


def fp8_rows(tensor):
    """e4m3 values and a scale a row, as compressed-tensors stores them (strategy channel, symmetric)."""
    scale = (tensor.abs().amax(-1, keepdim=True).float() / 448).clamp(min=1e-12)
    return (tensor.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn), scale


def is_fp8(name, tensor):
    """The linear layers of the official FP8 checkpoints: all but the head and the routers."""
    if "experts." in name and tensor.dim() == 3:
        return True
    return name.endswith(LINEAR)


def quantise(model):
    """The model computes with what the stored values mean, in bf16 as a reader without FP8 makes it."""
    values, scales = {}, {}
    for name, tensor in model.state_dict().items():
        if is_fp8(name, tensor):
            values[name], scales[name] = fp8_rows(tensor)
            tensor.copy_((values[name].float() * scales[name]).to(torch.bfloat16).float())
    return values, scales


def put_fp8(state, values, scales):
    state.update(official_names(values))
    state.update({name + "_scale": tensor for name, tensor in official_names(scales).items()})


def add_mtp(state, num_layers, generator):
    """Next-token-prediction weights in the published form; what they hold is not computed with."""
    last, mtp = f"model.layers.{num_layers - 1}.", f"model.layers.{num_layers}."
    hidden = state["model.norm.weight"].shape[0]
    like = {mtp + name[len(last):]: tensor for name, tensor in state.items() if name.startswith(last)}
    like[mtp + "eh_proj.weight"] = torch.empty(hidden, 2 * hidden)
    for name in ("enorm.weight", "hnorm.weight", "shared_head.norm.weight"):
        like[mtp + name] = torch.empty(hidden)
    for name in ("embed_tokens.weight", "shared_head.head.weight"):
        like[mtp + name] = state["lm_head.weight"]
    state.update({name: torch.randn(t.shape, generator=generator).to(t.dtype) for name, t in like.items()})


class RouterWatch:
    """The smallest gap between the last chosen and the first refused expert over all forwards."""

    def __init__(self, model, text):
        self.gap, self.text = float("inf"), text
        for name, module in model.named_modules():
            if name.endswith("mlp.gate"):
                module.register_forward_hook(lambda m, args, out: self.look(m, args[0]))

    def look(self, module, hidden):
        hidden = hidden.reshape(-1, hidden.shape[-1])
        scores = (hidden.float() @ module.weight.float().T).sigmoid() + module.e_score_correction_bias.float()
        groups, k = self.text["n_group"], self.text["num_experts_per_tok"]
        if groups > 1:
            by_group = scores.view(len(scores), groups, -1)
            best = by_group.topk(2, -1).values.sum(-1).sort(-1, descending=True)
            self.gap = min(self.gap, (best.values[:, 0] - best.values[:, 1]).min().item())
            scores = by_group[torch.arange(len(scores)), best.indices[:, 0]]
        ordered = scores.sort(-1, descending=True).values
        if ordered.shape[1] > k:
            self.gap = min(self.gap, (ordered[:, k - 1] - ordered[:, k]).min().item())


def run(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def golden_of(model, prompts):
    """Tensors of the golden file and the smallest greedy margin relative to the largest |logit|."""
    out, worst = {}, float("inf")
    for i, prompt in enumerate(prompts):
        ids = list(prompt)
        for _ in range(NUM_GREEDY):
            ids.append(int(run(model, ids)[-1].argmax()))
        logits = run(model, ids)
        top = logits[len(prompt) - 1:-1].topk(2, -1).values
        margins = top[:, 0] - top[:, 1]
        worst = min(worst, (margins.min() / logits.abs().max()).item())
        if len(set(ids[len(prompt):])) < 8:
            worst = 0.0     # a loop of a few tokens tests little
        out |= {f"prompt.{i}": torch.tensor(prompt, dtype=torch.int32), f"margins.{i}": margins,
                f"tokens.{i}": torch.tensor(ids[len(prompt):], dtype=torch.int32), f"logits.{i}": logits}
    return out, worst


def attempt(kind, text, dtype, num_mtp, seed):
    generator = torch.Generator().manual_seed(seed)
    config = hf_config(kind, text)
    for part in (config, config.get_text_config()):
        part._attn_implementation = "eager"
        part._experts_implementation = "eager"    # the grouped product wants strides that tiny sizes do not have
    model = model_class(kind)(config).eval()
    randomise(model, generator)
    fix_latent_eps(model)
    if dtype == "fp8":
        values, scales = quantise(model)
    if dtype != "float32":   # the reference computes in fp32 with the rounded weights
        for name, tensor in model.state_dict().items():
            if not name.endswith("e_score_correction_bias"):
                tensor.data.copy_(tensor.to(torch.bfloat16).float())
    prompts = [torch.randint(2, 88, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    watch = RouterWatch(model, text)
    golden, margin = golden_of(model, prompts)
    gap = watch.gap
    error = 0.0
    if dtype != "float32":
        kept = {n: t.clone() for n, t in model.state_dict().items() if n.endswith("e_score_correction_bias")}
        low = model.to(torch.bfloat16)
        for name, tensor in low.named_buffers():
            if name in kept:
                tensor.data = kept[name]
        for i, prompt in enumerate(prompts):
            golden[f"logits_bf16.{i}"] = run(low, prompt)
            exact = golden[f"logits.{i}"][:len(prompt)]
            error = max(error, ((golden[f"logits_bf16.{i}"] - exact).abs().max() / exact.abs().max()).item())
    state = official_names({n: t for n, t in model.state_dict().items()})
    if dtype == "fp8":
        put_fp8(state, values, scales)
    if num_mtp:
        add_mtp(state, config.num_hidden_layers, generator)
    good = margin >= MIN_MARGIN and gap >= MIN_ROUTER_GAP and error <= MAX_BF16_ERROR
    return good, (margin, gap, error), config, state, golden


def config_json(kind, text, config, style, dtype, num_mtp):
    if style == "new":
        out = json.loads(config.to_json_string(use_diff=True))
    else:                    # the form of the published files
        flat = {k: v for k, v in text.items() if k != "mrope_section" and v is not None}
        flat = dict({k: v for k, v in COMMON.items() if v is not None}, **flat, rope_scaling=None)
        if "mrope_section" in text:
            flat["rope_scaling"] = {"rope_type": "default", "mrope_section": text["mrope_section"]}
        nested = {"text_config": flat, "vision_config": VISION, "image_token_id": 90, "video_token_id": 91}
        out = nested if kind in VISION_KINDS else flat
        out["model_type"] = config.model_type
    out["architectures"] = [model_class(kind).__name__]
    out["dtype"] = "bfloat16" if dtype == "fp8" else dtype
    if dtype == "fp8":
        out["quantization_config"] = FP8_CONFIG
    if kind in ("Glm4MoeLite", "Glm4Moe"):
        out["num_nextn_predict_layers"] = num_mtp
    return out


def make(name):
    kind, text, dtype, style, num_mtp = CASES[name]
    for seed in range(1, 400):
        good, figures, config, state, golden = attempt(kind, text, dtype, num_mtp, seed)
        if good:
            break
    else:
        sys.exit(f"{name}: no seed is free of near-ties; the last had (margin, router gap, bf16 error) {figures}")
    folder = HERE / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({n: t.contiguous() for n, t in golden.items()}, folder / "golden.safetensors")
    written = config_json(kind, text, config, style, dtype, num_mtp)
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    margin, gap, error = figures
    print(f"{name}: seed {seed}, margin {margin:.2e}, router gap {gap:.2e}, bf16 error {error:.2e}, {size} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in sys.argv[1:] or CASES:
        make(case)
