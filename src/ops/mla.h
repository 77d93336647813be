#pragma once

#include "ops/attention.h"
#include "ops/linear.h"

namespace gale {

// Multi-head latent attention, absorbed (one latent "head" a token) or expanded. L = kv_lora_rank (512), P = rope
// dims (64), Q = q_lora_rank, N and V: what a latent expands to in each head's key (192, before the rope part) and
// value (256). The cache holds [latent after its norm (L) | rope key after rotation (P)] a token and layer.

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

// Rotates the rope part of each query head: out[t, h] = rope(in[t, h]).
// in, out: [T, heads, P], may be strided slices, and the same
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

// The same attention between its two products, as prompts want it: keys and values of every head are made from the
// latents once, so that a pair of tokens costs N + P + V products a head instead of 2 L + P.
//   out[t, h] = sum_j p_j W_UV[h] c_j,
//   p = softmax_j(scale * (q[t, h] . [W_UK[h]^T c_j | r_j])),  [c_j | r_j] = cache[j]
// Causal as paged_attention. Only sequences first_sequence … num_seqs - 1 are computed; other rows of out are left
// alone. Keys and values are made in pieces that the step's workspace holds. A backend may lack this op.
struct MlaPrefillArgs {
  Tensor out;               // [T, heads, V]
  Tensor q;                 // [T, heads, N + P], the rope part rotated
  Tensor scratch;           // [T, heads, L + P]: the rows that are computed lose their contents
  Tensor cache;
  const PackedWeight* w_uk;                // heads x [L, N]
  const PackedWeight* w_uv;                // heads x [V, L]
  const AttentionMetadata* metadata;       // with chunks
  int first_sequence = 0;                  // not below num_decodes
  float scale;
};
void mla_prefill(OpContext& context, const MlaPrefillArgs& args);

// The first sequence of the step from which on mla_prefill is the faster way, and possible; num_seqs: none is.
[[nodiscard]] int mla_first_prefill(const OpContext& context, const MlaPrefillArgs& args);

}  // namespace gale
