#pragma once

#include "ops/linear.h"

namespace gale {

// The input of a block: as it is, and once more quantised if weights behind it are. What the block does not read may be
// empty.
struct BlockInput {
  Tensor plain;
  Tensor quantized;
  [[nodiscard]] const Tensor& for_weight(const PackedWeight& weight) const {
    return weight.is_quantized() ? quantized : plain;
  }
  [[nodiscard]] int64_t num_tokens() const { return (plain.is_empty() ? quantized : plain).shape[0]; }
};

// Rows begin … end - 1 of a tensor, or nothing of nothing.
[[nodiscard]] inline Tensor rows_of(const Tensor& tensor, int64_t begin, int64_t end) {
  return tensor.is_empty() ? tensor : tensor.slice(0, begin, end);
}
[[nodiscard]] inline Tensor first_rows(const Tensor& tensor, int64_t num_rows) { return rows_of(tensor, 0, num_rows); }

// f8e4m3 with a scale for each row of the innermost dimension, or nothing.
template <class Allocator>
[[nodiscard]] Tensor allocate_quantized(Allocator& allocator, const Shape& shape, bool is_wanted) {
  if (!is_wanted) return {};
  Tensor out = allocator.allocate(DType::kF8E4M3, shape);
  out.scales =
      static_cast<float*>(allocator.allocate(DType::kF32, {shape.num_elements() / shape[shape.rank() - 1]}).data);
  return out;
}

}  // namespace gale
