#pragma once

#include "layers/forward_context.h"
#include "layers/block_input.h"
#include "layers/weight_scope.h"

namespace gale {

struct MlpSpec { int64_t hidden_size; int64_t inner_size; };

// down(silu(gate(x)) * up(x)), no biases.
class Mlp {
 public:
  Mlp(const WeightScope& scope, const MlpSpec& spec);
  void forward(ForwardContext& context, const Tensor& out, const BlockInput& in) const;   // both [T, H]
  [[nodiscard]] size_t workspace_bytes(int64_t num_tokens) const;
  [[nodiscard]] bool reads_plain() const { return !gate_up_->is_quantized(); }   // once weights are loaded

 private:
  MlpSpec spec_;
  DType dtype_;
  bool quantizes_;
  const PackedWeight* gate_up_;
  const PackedWeight* down_;
};

}  // namespace gale
