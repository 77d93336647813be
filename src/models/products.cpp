#include "models/products.h"

#include <algorithm>

namespace gale {
namespace {

bool is_gate_up(const PackShape& shape) { return shape.order == RowOrder::kGateUp; }

// Several matrices are experts', or one a head (MLA): experts come as gate with up and, as many, down behind them.
bool is_down_of_experts(const PackShape& shape, std::span<const PackShape> weights) {
  return !is_gate_up(shape) && std::any_of(weights.begin(), weights.end(), [&](const PackShape& up) {
    return is_gate_up(up) && up.num_matrices == shape.num_matrices && up.num_rows == 2 * shape.num_cols &&
           up.num_cols == shape.num_rows;
  });
}

ProductOp op_of_one(const PackShape& shape, const ModelInfo& info) {
  if (is_gate_up(shape)) return ProductOp::kLinearSwiglu;
  return shape.num_rows == info.vocab_size ? ProductOp::kLogits : ProductOp::kLinear;
}

}  // namespace

std::vector<ProductShape> products_of(std::span<const PackShape> weights, const ModelInfo& info) {
  std::vector<ProductShape> products;
  for (const PackShape& weight : weights) {
    ProductShape product{.is_fp8 = weight.format == WeightFormat::kF8E4M3,
                         .num_rows = weight.num_rows,
                         .num_cols = weight.num_cols,
                         .num_matrices = weight.num_matrices};
    if (weight.num_matrices == 1) {
      product.op = op_of_one(weight, info);
    } else if (is_gate_up(weight) || is_down_of_experts(weight, weights)) {
      product.op = is_gate_up(weight) ? ProductOp::kMoeUp : ProductOp::kMoeDown;
      product.num_chosen = info.num_experts_a_token + weight.num_matrices - info.num_experts;   // with the shared one
    } else {
      continue;
    }
    if (std::find(products.begin(), products.end(), product) == products.end()) products.push_back(product);
  }
  return products;
}

}  // namespace gale
