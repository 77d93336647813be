#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layers/block_input.h"
#include "layers/weight_scope.h"

namespace gale {

struct LinearPart { std::string name; int64_t num_rows; };   // "q_proj": tensor q_proj.weight [num_rows, num_cols]

// out = weight * in, of one or several checkpoint matrices stacked along rows. No bias: the only biases of the family
// (q, k, v) are added by the op behind.
class Linear {
 public:
  Linear(const WeightScope& scope, const std::vector<LinearPart>& parts, int64_t num_cols);
  [[nodiscard]] int64_t num_rows() const { return num_rows_; }
  [[nodiscard]] bool reads_plain() const { return !weight_->is_quantized(); }   // once weights are loaded
  void apply(OpContext& ops, const Tensor& out, const BlockInput& in) const;   // in: [T, num_cols], out: [T, num_rows]

 private:
  int64_t num_rows_ = 0;
  const PackedWeight* weight_;
};

// One matrix [2 * inner, cols]: `gate_up_proj` if the checkpoint has it, else `gate_proj` and `up_proj`.
[[nodiscard]] std::vector<Tensor> claim_gate_up(const WeightScope& scope, int64_t inner, int64_t num_cols);

}  // namespace gale
