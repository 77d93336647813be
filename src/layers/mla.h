#pragma once

#include "layers/forward_context.h"
#include "layers/linear.h"
#include "layers/norm.h"

namespace gale {

struct MlaSpec {
  int64_t hidden_size = 0;
  int num_heads = 0;
  int q_lora_rank = 0;
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0;
  int qk_rope_head_dim = 0;
  int v_head_dim = 0;
  float norm_eps = 0;
  RopeParams rope;              // of qk_rope_head_dim dims
};

// Multi-head latent attention. kv_b_proj is split by head into W_UK [nope, latent] and W_UV [v, latent]. Absorbed:
// W_UK is multiplied into the query, W_UV applied to the attended latent. Expanded (long pieces of prompts, where the
// backend has the op): both make keys and values of the latents. Scale (nope + rope)^-0.5.
class MlaAttention {
 public:
  MlaAttention(const WeightScope& scope, const MlaSpec& spec);
  [[nodiscard]] KvLayerSpec kv_spec() const;
  [[nodiscard]] size_t workspace_bytes(int64_t num_tokens) const;
  [[nodiscard]] bool reads_plain() const { return qkv_a_proj_.reads_plain(); }   // once weights are loaded
  // out: [T, H] of all tokens, or [R, H] of the wanted rows in their order.
  void forward(ForwardContext& context, const KvLayerView& kv, const Tensor& out, const BlockInput& in,
               const WantedRows* wanted = nullptr) const;

 private:
  struct Scratch;
  void attend(OpContext& ops, const AttentionMetadata& step, const KvLayerView& kv, const Scratch& tmp) const;
  void attend_absorbed(OpContext& ops, const AttentionMetadata& first, const KvLayerView& kv, const Scratch& tmp) const;
  template <class Allocator>
  Scratch scratch(Allocator& allocator, int64_t num_tokens) const;

  MlaSpec spec_;
  float scale_;
  DType dtype_;
  bool quantizes_;
  Linear qkv_a_proj_;
  RmsNorm q_norm_;
  RmsNorm kv_norm_;
  Linear q_b_proj_;
  Linear o_proj_;
  const PackedWeight* w_uk_ = nullptr;   // heads x [latent, nope]
  const PackedWeight* w_uv_ = nullptr;   // heads x [v, latent]
};

}  // namespace gale
