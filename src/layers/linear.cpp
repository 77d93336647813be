#include "layers/linear.h"

namespace gale {
namespace {

std::vector<Tensor> claim_parts(const WeightScope& scope, const std::vector<LinearPart>& parts, int64_t num_cols) {
  std::vector<Tensor> out;
  for (const LinearPart& part : parts)
    out.push_back(scope.claim_matrix(part.name + ".weight", {part.num_rows, num_cols}));
  return out;
}

}  // namespace

Linear::Linear(const WeightScope& scope, const std::vector<LinearPart>& parts, int64_t num_cols)
    : weight_(scope.matrices(claim_parts(scope, parts, num_cols), 1, RowOrder::kPlain)) {
  for (const LinearPart& part : parts) num_rows_ += part.num_rows;
}

void Linear::apply(OpContext& ops, const Tensor& out, const BlockInput& in) const {
  linear(ops, {.out = out, .in = in.for_weight(*weight_), .weight = weight_, .bias = {}});
}

std::vector<Tensor> claim_gate_up(const WeightScope& scope, int64_t inner, int64_t num_cols) {
  if (scope.has("gate_up_proj.weight")) {
    const Tensor both = scope.claim_matrix("gate_up_proj.weight", {2 * inner, num_cols});
    return {both.slice(0, 0, inner), both.slice(0, inner, 2 * inner)};
  }
  return {scope.claim_matrix("gate_proj.weight", {inner, num_cols}),
          scope.claim_matrix("up_proj.weight", {inner, num_cols})};
}

}  // namespace gale
