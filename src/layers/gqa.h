#pragma once

#include "layers/forward_context.h"
#include "layers/linear.h"
#include "layers/norm.h"

namespace gale {

struct GqaSpec {
  int64_t hidden_size = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  bool has_qkv_bias = false;
  bool has_qk_norm = false;     // RMSNorm of each q and k head, after bias, before rope
  float norm_eps = 0;
  RopeParams rope;
};

// Causal attention with grouped query heads over the paged cache; scale head_dim^-0.5.
class GqaAttention {
 public:
  GqaAttention(const WeightScope& scope, const GqaSpec& spec);
  // out: [T, H] of all tokens, or [R, H] of the wanted rows in their order.
  void forward(ForwardContext& context, const KvLayerView& kv, const Tensor& out, const BlockInput& in,
               const WantedRows* wanted = nullptr) const;
  [[nodiscard]] size_t workspace_bytes(int64_t num_tokens) const;
  [[nodiscard]] bool reads_plain() const { return qkv_proj_.reads_plain(); }   // once weights are loaded
  [[nodiscard]] KvLayerSpec kv_spec() const;

 private:
  struct Scratch;
  template <class Allocator>
  Scratch scratch(Allocator& allocator, int64_t num_tokens) const;

  GqaSpec spec_;
  DType dtype_;
  bool quantizes_;
  Linear qkv_proj_;
  Linear o_proj_;
  const Tensor* qkv_bias_ = nullptr;
  const Tensor* q_norm_ = nullptr;
  const Tensor* k_norm_ = nullptr;
};

}  // namespace gale
