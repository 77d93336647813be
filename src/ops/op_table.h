#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/mla.h"
#include "ops/moe.h"
#include "ops/norm.h"
#include "ops/op.h"
#include "ops/product.h"
#include "ops/sample.h"

namespace gale {

// How a backend orders weights at load.
struct LinearPacking {
  size_t (*packed_bytes)(const PackShape& shape);
  void (*pack)(Stream& stream, Arena& arena, const PackLinearArgs& args);
  bool has_f8e4m3 = false;     // WeightFormat::kF8E4M3 is supported
};

// Every op with its implementations, best first. One constant table a backend; no registration by static initialisers.
struct OpTable {
  LinearPacking packing;
  size_t (*attention_workspace_bytes)(const AttentionLimits& limits);
  // out[i] = spread * uniform(seed, i) with uniform in [-sqrt(3), sqrt(3)), which has variance 1: the weights of
  // --load-format dummy. Contiguous f32 or bf16.
  void (*fill_random)(Stream& stream, const Tensor& out, uint64_t seed, float spread);
  // Which kernel a product takes on the device, by the number of tokens. Empty: there is one kernel. Null: so there is
  // for every product.
  std::vector<ProductChoice> (*product_choices)(const Device& device, const ProductShape& shape) = nullptr;
  std::span<const OpImpl<EmbeddingArgs>> embedding;
  std::span<const OpImpl<GatherRowsArgs>> gather_rows;
  std::span<const OpImpl<RmsNormArgs>> rms_norm;
  std::span<const OpImpl<AddRmsNormArgs>> add_rms_norm;
  std::span<const OpImpl<NormAddRmsNormArgs>> norm_add_rms_norm;
  std::span<const OpImpl<QuantizeRowsArgs>> quantize_rows;   // empty: the backend has no FP8 weights
  std::span<const OpImpl<LinearArgs>> linear;
  std::span<const OpImpl<LinearSwigluArgs>> linear_swiglu;
  std::span<const OpImpl<HeadLinearArgs>> head_linear;
  std::span<const OpImpl<QkvRopeWriteArgs>> qkv_rope_write;
  std::span<const OpImpl<PagedAttentionArgs>> paged_attention;
  std::span<const OpImpl<MlaWriteArgs>> mla_write;
  std::span<const OpImpl<MlaQueryRopeArgs>> mla_query_rope;
  std::span<const OpImpl<MlaAttentionArgs>> mla_attention;
  // empty: the backend computes prompts in the absorbed form, too
  std::span<const OpImpl<MlaPrefillArgs>> mla_prefill;
  int (*mla_first_prefill)(const MlaPrefillArgs&);           // with mla_prefill: for a call that it supports
  std::span<const OpImpl<MoeRouteArgs>> moe_route;
  std::span<const OpImpl<MoeUpArgs>> moe_up;
  std::span<const OpImpl<MoeDownCombineArgs>> moe_down_combine;
  std::span<const OpImpl<MaskLogitsArgs>> mask_logits;
  std::span<const OpImpl<PenaltiesArgs>> apply_penalties;
  std::span<const OpImpl<LogitBiasArgs>> apply_logit_bias;
  std::span<const OpImpl<SampleArgs>> sample;
  std::span<const OpImpl<LogprobsArgs>> logprobs;
};

// An op and the implementations a table has for it, best first; none: the table cannot run the op at all.
struct OpChoice {
  std::string_view op;
  std::vector<std::string_view> implementations;
};
[[nodiscard]] std::vector<OpChoice> describe(const OpTable& table);

}  // namespace gale
