#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "backends/cuda/product_plan.h"

// What `gale tune` makes of its measurements, as plain functions.
namespace gale::cuda {

// The numbers of tokens that stand for a bucket, rising: its first, one between, its last.
[[nodiscard]] std::vector<int> measured_tokens(ProductOp op, int bucket);

struct Measurement {
  Candidate kernel;
  std::vector<double> microseconds;                    // for each of measured_tokens; empty if it is wrong
};
// Which one the bucket takes; [0] is the heuristic. Another one must be faster by more than noise in the mean, and must
// not be slower anywhere.
[[nodiscard]] size_t fastest(std::span<const Measurement> measurements);

// Whether `got` is `expected` but for the order of sums. is_fp8: of the operands; is_rounded: results are e4m3.
struct Precision { bool is_fp8, is_rounded; };
[[nodiscard]] bool agree(std::span<const float> expected, std::span<const float> got, const Precision& precision);

// Microseconds that the card needs at least: each weight, input and result once through memory, or the arithmetic.
[[nodiscard]] double bound_of(const ProductShape& shape, int num_tokens);

}  // namespace gale::cuda
