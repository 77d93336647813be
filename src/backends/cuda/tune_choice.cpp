#include "backends/cuda/tune_choice.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace gale::cuda {
namespace {

constexpr double kNoise = 0.97;        // a choice is worth its line from here on
constexpr double kNowhereSlower = 1.02;

}  // namespace

std::vector<int> measured_tokens(ProductOp op, int bucket) {
  const int first = first_of_bucket(op, bucket);
  // Rows of logits are sequences, at most 1,024 of them.
  const int most = op == ProductOp::kLogits ? 1024 : kMostMeasuredTokens;
  const int last = std::min(bucket, most);
  std::vector<int> tokens = {first, (first + last) / 2, last};
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

size_t fastest(std::span<const Measurement> measurements) {
  CHECK(!measurements.empty() && !measurements[0].microseconds.empty(), "the heuristic was not measured");
  const std::vector<double>& heuristic = measurements[0].microseconds;
  size_t best = 0;
  double least = kNoise;
  for (size_t i = 1; i < measurements.size(); ++i) {
    const std::vector<double>& times = measurements[i].microseconds;
    if (times.empty()) continue;
    CHECK(times.size() == heuristic.size(), "{} times for {}", times.size(), heuristic.size());
    double sum = 0, worst = 0;
    for (size_t m = 0; m < times.size(); ++m) {
      const double ratio = times[m] / heuristic[m];
      sum += ratio, worst = std::max(worst, ratio);
    }
    const double mean = sum / static_cast<double>(times.size());
    if (mean < least && worst <= kNowhereSlower) least = mean, best = i;
  }
  return best;
}

bool agree(std::span<const float> expected, std::span<const float> got, const Precision& precision) {
  if (expected.size() != got.size()) return false;
  double squares = 0;
  for (const float value : expected) squares += static_cast<double>(value) * static_cast<double>(value);
  const double rms = std::sqrt(squares / static_cast<double>(std::max<size_t>(expected.size(), 1)));
  // A step of e4m3, or two of bf16; and what sums lose by their order, more in the tensor cores' few bits.
  const double relative = precision.is_rounded ? 0.13 : 0.008, absolute = (precision.is_fp8 ? 0.05 : 0.02) * rms;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto a = static_cast<double>(expected[i]), b = static_cast<double>(got[i]);
    if (!(std::abs(a - b) <= relative * std::max(std::abs(a), std::abs(b)) + absolute)) return false;
  }
  return true;
}

double bound_of(const ProductShape& shape, int num_tokens) {
  constexpr double kBytes = 3.0e6, kBf16 = 680e6, kFp8 = 1320e6;   // a microsecond of an H100, as in perf/
  const double n = static_cast<double>(shape.num_rows), k = static_cast<double>(shape.num_cols),
               experts = static_cast<double>(shape.num_matrices),
               rows = static_cast<double>(num_tokens) * static_cast<double>(shape.num_chosen);
  // Routers choose evenly: an expert is left out by all tokens with this share.
  const double missed = shape.num_matrices == 1
                            ? 0
                            : std::pow(1 - static_cast<double>(shape.num_chosen) / experts, num_tokens);
  const double value = shape.is_fp8 ? 1 : 2, result = shape.op == ProductOp::kLogits ? 4 : 2;
  const double bytes = value * experts * (1 - missed) * n * k + value * rows * k + result * rows * n;
  return std::max(bytes / kBytes, 2 * rows * n * k / (shape.is_fp8 ? kFp8 : kBf16));
}

}  // namespace gale::cuda
