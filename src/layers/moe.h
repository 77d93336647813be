#pragma once

#include "layers/forward_context.h"
#include "layers/block_input.h"
#include "layers/weight_scope.h"

namespace gale {

// Sigmoid router, top_k of num_experts by biased score, one shared expert or none.
struct MoeSpec {
  int64_t hidden_size = 0;
  int64_t inner_size = 0;          // of each expert, the shared one included
  int64_t num_experts = 0;
  bool has_shared_expert = false;
  int top_k = 0;
  int num_groups = 1;
  int top_k_groups = 1;
  bool renormalize = false;
  float routed_scale = 1;          // of the routed experts' weights, not of the shared one's
  [[nodiscard]] int64_t num_chosen() const { return top_k + (has_shared_expert ? 1 : 0); }
};

// sum of the chosen experts + the shared expert, which is expert number num_experts of the same packed weights. Accepts
// a tensor an expert (experts.E.gate_proj.weight …) and stacked ones (experts.gate_up_proj [E, 2I, H],
// experts.down_proj).
class MoeBlock {
 public:
  MoeBlock(const WeightScope& scope, const MoeSpec& spec);
  void forward(ForwardContext& context, const Tensor& out, const BlockInput& in) const;   // both [T, H]
  [[nodiscard]] size_t workspace_bytes(int64_t num_tokens) const;
  [[nodiscard]] static bool reads_plain() { return true; }   // the router

 private:
  MoeSpec spec_;
  DType dtype_;
  bool quantizes_;
  const Tensor* gate_;             // f32 [E, H]
  const Tensor* correction_bias_;  // f32 [E]
  const PackedWeight* up_ = nullptr;
  const PackedWeight* down_ = nullptr;
};

}  // namespace gale
