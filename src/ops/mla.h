#pragma once

#include "ops/attention.h"

namespace gale {

// Multi-head latent attention in its absorbed form (one latent "head" a token). L = kv_lora_rank (512), P = rope dims (64),
// Q = q_lora_rank. The cache holds [latent after its norm (L) | rope key after rotation (P)] a token and layer.

// From the joint q_a + kv_a product: norms the query latent and the key latent, rotates the rope key, writes the cache.
struct MlaWriteArgs {
  Tensor q_latent;          // out: [T, Q]
  Tensor qkv_a;             // [T, Q + L + P]: q_a rows, latent, rope key
  Tensor q_norm, kv_norm;   // [Q], [L]
  float norm_eps;
  Tensor cache;             // [num_blocks, block_size, L + P], f32, bf16 or f8e4m3 (saturated, scale 1)
  const AttentionMetadata* metadata;
  RopeParams rope;
};
void mla_write(OpContext& context, const MlaWriteArgs& args);

// Rotates the rope part of each query head: out[t, h] = rope(in[t, h]).   in, out: [T, heads, P], may be strided slices
struct MlaQueryRopeArgs { Tensor out; Tensor in; const AttentionMetadata* metadata; RopeParams rope; };
void mla_query_rope(OpContext& context, const MlaQueryRopeArgs& args);

// out[t, h] = sum_j softmax_j(scale * q[t, h] . cache[j]) cache[j][0 … L-1], causal as paged_attention.
struct MlaAttentionArgs {
  Tensor out;               // [T, heads, L]
  Tensor q;                 // [T, heads, L + P]: absorbed query, rotated rope query
  Tensor cache;
  const AttentionMetadata* metadata;
  float scale;
};
void mla_attention(OpContext& context, const MlaAttentionArgs& args);

}  // namespace gale
