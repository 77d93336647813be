"""A compact glm4_moe_lite for training: MLA, sigmoid router, one MTP layer.

The numerics follow transformers' Glm4MoeLiteForCausalLM (test_parity.py holds them together). The experts are
stacked in one tensor and all of them are computed for every token, weighted by zero where the router did not choose
them: with so few small experts that is two large matrix products and faster than sorting tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class ModelConfig:
    """Sizes, under the names of config.json."""

    vocab_size: int = 8192
    hidden_size: int = 256
    intermediate_size: int = 512
    moe_intermediate_size: int = 128
    num_hidden_layers: int = 4
    first_k_dense_replace: int = 1
    num_attention_heads: int = 2
    q_lora_rank: int = 192
    kv_lora_rank: int = 512
    qk_nope_head_dim: int = 192
    qk_rope_head_dim: int = 64
    v_head_dim: int = 256
    n_routed_experts: int = 16
    num_experts_per_tok: int = 4
    routed_scaling_factor: float = 1.8
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 4096

    @property
    def rotary_size(self) -> int:
        return self.qk_rope_head_dim


class RmsNorm(nn.Module):
    """Mean over the last axis in float32, cast, then the weight."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight.to(x.dtype) * wide.to(x.dtype)


def linear(rows: int, columns: int) -> nn.Linear:
    return nn.Linear(columns, rows, bias=False)


def rotate(x, cos, sin):
    """Interleaved RoPE over the last axis; cos and sin are [B, L, R/2], x is [B, heads, L, R]."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Multi-head latent attention in its expanded form."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        heads = c.num_attention_heads
        self.q_a_proj = linear(c.q_lora_rank, c.hidden_size)
        self.q_a_layernorm = RmsNorm(c.q_lora_rank, c.rms_norm_eps)
        self.q_b_proj = linear(heads * (c.qk_nope_head_dim + c.qk_rope_head_dim), c.q_lora_rank)
        self.kv_a_proj_with_mqa = linear(c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size)
        self.kv_a_layernorm = RmsNorm(c.kv_lora_rank, c.rms_norm_eps)
        self.kv_b_proj = linear(heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank)
        self.o_proj = linear(c.hidden_size, heads * c.v_head_dim)

    def forward(self, x, context):
        c = self.c
        batch, length, _ = x.shape
        split = (batch, length, c.num_attention_heads, -1)
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))).view(split).transpose(1, 2)
        q_nope, q_rope = q.split((c.qk_nope_head_dim, c.qk_rope_head_dim), -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split((c.kv_lora_rank, c.qk_rope_head_dim), -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(split).transpose(1, 2)
        k_nope, value = kv.split((c.qk_nope_head_dim, c.v_head_dim), -1)
        q_rope = rotate(q_rope, context.cos, context.sin)
        k_rope = rotate(k_rope[:, None], context.cos, context.sin).expand_as(q_rope)
        query = torch.cat((q_nope, q_rope), -1)
        key = torch.cat((k_nope, k_rope), -1)
        scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
        weights = scores.masked_fill(~context.mask, -1e30).softmax(-1).to(value.dtype)
        return self.o_proj((weights @ value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.gate_proj = linear(inner, hidden)
        self.up_proj = linear(inner, hidden)
        self.down_proj = linear(hidden, inner)

    def forward(self, x, context):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Moe(nn.Module):
    """Routed experts and, as the last one of the stack, the shared expert."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.c = c
        experts = c.n_routed_experts + 1
        self.router = nn.Parameter(torch.empty(c.n_routed_experts, c.hidden_size))
        self.gate_proj = nn.Parameter(torch.empty(experts, c.moe_intermediate_size, c.hidden_size))
        self.up_proj = nn.Parameter(torch.empty(experts, c.moe_intermediate_size, c.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(experts, c.hidden_size, c.moe_intermediate_size))
        self.register_buffer("correction_bias", torch.zeros(c.n_routed_experts))
        self.register_buffer("load", torch.zeros(c.n_routed_experts), persistent=False)

    def route(self, x):
        """[T, E] combine weights, zero for the experts that were not chosen."""
        c = self.c
        with torch.autocast(x.device.type, enabled=False):
            scores = (x.float() @ self.router.float().T).sigmoid()
        chosen = (scores + self.correction_bias).topk(c.num_experts_per_tok, -1).indices
        mask = torch.zeros_like(scores).scatter(-1, chosen, 1.0)
        weights = scores * mask
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * c.routed_scaling_factor
        return weights, mask

    def forward(self, x, context):
        c = self.c
        weights, mask = self.route(x)
        if self.training:
            self.load.copy_((mask.detach() * context.real[..., None]).sum((0, 1)))
        weights = torch.cat((weights, torch.ones_like(weights[..., :1])), -1).to(x.dtype)
        gate = F.linear(x, self.gate_proj.flatten(0, 1))
        up = F.linear(x, self.up_proj.flatten(0, 1))
        inner = (F.silu(gate) * up).unflatten(-1, (-1, c.moe_intermediate_size)) * weights[..., None]
        down = self.down_proj.transpose(0, 1).flatten(1)
        return F.linear(inner.flatten(-2), down)

    @torch.no_grad()
    def balance(self, rate: float):
        """The loss-free balancing step: the bias of a busy expert falls, that of an idle one rises."""
        self.correction_bias += rate * torch.sign(self.load.mean() - self.load)


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, c: ModelConfig, moe: bool):
        super().__init__()
        self.input_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Moe(c) if moe else Mlp(c.hidden_size, c.intermediate_size)

    def forward(self, x, context):
        x = x + self.self_attn(self.input_layernorm(x), context)
        return x + self.mlp(self.post_attention_layernorm(x), context)


class MtpLayer(nn.Module):
    """Predicts the token after the next from the final hidden state and the next token."""

    def __init__(self, c: ModelConfig):
        super().__init__()
        self.enorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.hnorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = linear(c.hidden_size, 2 * c.hidden_size)
        self.layer = DecoderLayer(c, moe=True)
        self.shared_head_norm = RmsNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, hidden, next_embedding, context):
        joined = torch.cat((self.enorm(next_embedding), self.hnorm(hidden)), -1)
        return self.shared_head_norm(self.layer(self.eh_proj(joined), context))


class Context(NamedTuple):
    """What all layers of one forward pass share.

    cos, sin: [B, L, R/2]; mask: [B, 1, L, L], true where a row may look; real: [B, L], 0 on padding.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    mask: torch.Tensor
    real: torch.Tensor


def make_context(rotary_size: int, rope_theta: float, positions, documents) -> Context:
    """Rows hold several documents; a token sees the earlier ones of its own document. Padding is document -1."""
    device = positions.device
    exponent = torch.arange(0, rotary_size, 2, device=device, dtype=torch.float32) / rotary_size
    angles = positions[..., None].float() * rope_theta ** -exponent
    length = positions.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask = (documents[:, None, :, None] == documents[:, None, None, :]) & causal
    return Context(angles.cos(), angles.sin(), mask, (documents >= 0).float())


class Decoder(nn.Module):
    """What both models have: embedding, layers, norm and an untied head. `layers` are called with (x, context)."""

    def __init__(self, c, layers):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(layers)
        self.norm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = linear(c.vocab_size, c.hidden_size)

    def compiled_parts(self):
        return list(self.layers)

    def moe_layers(self):
        return [module for module in self.modules() if isinstance(module, Moe)]

    def context(self, positions, documents):
        return make_context(self.c.rotary_size, self.c.rope_theta, positions, documents)

    def hidden(self, tokens, context):
        """Final hidden states, after the last norm."""
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, context)
        return self.norm(x)

    def forward(self, tokens, positions, documents):
        """Logits [B, L, V] of the next token."""
        return self.lm_head(self.hidden(tokens, self.context(positions, documents)))


class NanoFlash(Decoder):
    """The whole model; the MTP layer shares embedding and head."""

    def __init__(self, c: ModelConfig):
        super().__init__(c, (DecoderLayer(c, moe=i >= c.first_k_dense_replace) for i in range(c.num_hidden_layers)))
        self.mtp = MtpLayer(c)
        self.reset()

    @torch.no_grad()
    def reset(self):
        """Normal initialisation; projections into the residual stream start smaller."""
        depth = 2 * (self.c.num_hidden_layers + 1)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            fan_in = parameter.shape[-1]
            scale = fan_in ** -0.5
            if name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")):
                scale /= depth ** 0.5
            if "embed_tokens" in name or "lm_head" in name:
                scale = 0.02
            parameter.normal_(0, scale)

    def compiled_parts(self):
        return [*super().compiled_parts(), self.mtp.layer]

    def losses(self, tokens, positions, documents, targets, weights, mtp_targets, mtp_weights):
        """Weighted mean cross entropies of the next token and, by the MTP layer, of the one after it.

        targets[t] is the token at t + 1 and mtp_targets[t] the one at t + 2 of the same document; the weights are 0
        where there is none.
        """
        context = self.context(positions, documents)
        hidden = self.hidden(tokens, context)
        main = weighted_loss(self.lm_head(hidden), targets, weights)
        ahead = self.mtp(hidden, self.embed_tokens(targets), context)
        return main, weighted_loss(self.lm_head(ahead), mtp_targets, mtp_weights)


def weighted_loss(logits, targets, weights):
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return (loss * weights.flatten()).sum() / weights.sum().clamp(min=1)
