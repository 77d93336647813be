"""A compact glm4 (GLM-4-9B-0414) for training: dense, grouped-query attention with one KV head, sandwich norms.

The numerics follow transformers' Glm4ForCausalLM (test_parity.py holds them together).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from model import Decoder, RmsNorm, linear, rotate, weighted_loss


@dataclass(frozen=True)
class Glm4Config:
    """Sizes, under the names of config.json."""

    vocab_size: int = 8192
    hidden_size: int = 192
    intermediate_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 16
    num_key_value_heads: int = 1
    head_dim: int = 128
    partial_rotary_factor: float = 0.5
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 4096

    @property
    def rotary_size(self) -> int:
        return int(self.head_dim * self.partial_rotary_factor)


class Attention(nn.Module):
    """Grouped-query attention; q, k and v have biases, the first half of a head is rotated."""

    def __init__(self, c: Glm4Config):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * c.head_dim)
        self.k_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim)
        self.v_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim)
        self.o_proj = linear(c.hidden_size, c.num_attention_heads * c.head_dim)

    def rotated(self, x, context):
        turned, plain = x.split((self.c.rotary_size, self.c.head_dim - self.c.rotary_size), -1)
        return torch.cat((rotate(turned, context.cos, context.sin), plain), -1)

    def forward(self, x, context):
        c = self.c
        split = (*x.shape[:2], -1, c.head_dim)
        query = self.rotated(self.q_proj(x).view(split).transpose(1, 2), context)
        key = self.rotated(self.k_proj(x).view(split).transpose(1, 2), context)
        value = self.v_proj(x).view(split).transpose(1, 2)
        group = c.num_attention_heads // c.num_key_value_heads
        key, value = (kv.repeat_interleave(group, 1) for kv in (key, value))
        # The scores of 16 heads do not fit beside each other in memory, so the fused kernel is needed here.
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=context.mask)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """SwiGLU with gate and up in one matrix."""

    def __init__(self, c: Glm4Config):
        super().__init__()
        self.gate_up_proj = linear(2 * c.intermediate_size, c.hidden_size)
        self.down_proj = linear(c.hidden_size, c.intermediate_size)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each between two norms."""

    def __init__(self, c: Glm4Config):
        super().__init__()
        self.input_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_self_attn_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Mlp(c)
        self.post_mlp_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x, context):
        x = x + self.post_self_attn_layernorm(self.self_attn(self.input_layernorm(x), context))
        return x + self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(x)))


class NanoGlm4(Decoder):
    """The whole model."""

    def __init__(self, c: Glm4Config):
        super().__init__(c, (DecoderLayer(c) for _ in range(c.num_hidden_layers)))
        self.reset()

    @torch.no_grad()
    def reset(self):
        """Normal initialisation; the norms before the residual stream make branches start at equal size,
        so they start small."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif "post_self_attn" in name or "post_mlp" in name:
                parameter.fill_((2 * self.c.num_hidden_layers) ** -0.5)
            elif parameter.dim() >= 2:
                parameter.normal_(0,
                                  0.02 if "embed_tokens" in name or "lm_head" in name else parameter.shape[-1] ** -0.5)

    def losses(self, tokens, positions, documents, targets, weights, mtp_targets, mtp_weights):
        """Weighted mean cross entropy of the next token, in a tuple: there is no MTP layer."""
        return (weighted_loss(self.lm_head(self.hidden(tokens, self.context(positions, documents))), targets, weights),)
