#pragma once

#include <algorithm>

#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/kernels.h"
#include "ops/linear.h"

namespace gale {

// Packed data is [num_matrices, num_panels, K, kPanelRows]; gate and up panels alternate. Rows past the last are zero.

// Outputs of one panel unit: a panel, or for gate + up a pair of panels that makes kPanelRows outputs.
[[nodiscard]] inline int64_t panels_in_unit(const PackedWeight& weight) {
  return weight.order == RowOrder::kGateUp ? 2 : 1;
}
[[nodiscard]] inline int64_t num_outputs(const PackedWeight& weight) {
  return weight.num_rows / panels_in_unit(weight);
}
[[nodiscard]] inline int64_t num_units(const PackedWeight& weight) {
  return (num_outputs(weight) + kPanelRows - 1) / kPanelRows;
}

// How many units a thread takes at a time: what fits its cache, but enough pieces for all threads. A multiple of 4
// where possible, since single tokens take 4 panels at once.
[[nodiscard]] inline int64_t units_in_piece(const PackedWeight& weight, int num_threads) {
  constexpr int64_t kCacheBytes = 256 << 10, kPiecesAThread = 4, kRound = 4;
  const int64_t unit_bytes =
      panels_in_unit(weight) * weight.num_cols * kPanelRows * static_cast<int64_t>(size_of(weight.data.dtype));
  const int64_t fitting = std::max<int64_t>(1, kCacheBytes / std::max<int64_t>(1, unit_bytes));
  const int64_t shared = num_units(weight) / (kPiecesAThread * num_threads) / kRound * kRound;
  return std::min(fitting, std::max(shared, kRound));
}

// The block of `matrix` that makes outputs from unit `begin` up to `end`; tokens are still to be filled in.
[[nodiscard]] inline PanelBlock panel_block(const PackedWeight& weight, int64_t matrix, int64_t begin, int64_t end) {
  const int64_t panels = panels_in_unit(weight);
  const int64_t first = (matrix * num_units(weight) + begin) * panels * weight.num_cols * kPanelRows;
  PanelBlock block{};
  block.dtype = weight.data.dtype;
  block.panels =
      static_cast<const std::byte*>(weight.data.data) + first * static_cast<int64_t>(size_of(weight.data.dtype));
  block.num_cols = weight.num_cols;
  block.num_rows = std::min(end * kPanelRows, num_outputs(weight)) - begin * kPanelRows;
  return block;
}

// Adds a token to the block.
inline void push_token(PanelBlock& block, const float* in, float* out) {
  block.in[block.num_tokens] = in;
  block.out[block.num_tokens] = out;
  ++block.num_tokens;
}

// Runs the block if it holds tokens, and empties it.
inline void flush(PanelBlock& block, RowOrder order) {
  if (block.num_tokens == 0) return;
  order == RowOrder::kGateUp ? cpu_kernels().panels_swiglu(block) : cpu_kernels().panels(block);
  block.num_tokens = 0;
}

// work(matrix, first unit, end unit) for all pieces of all matrices; `num_products` rows in all will be multiplied.
template <class Work>
void for_each_piece(Stream& stream, const PackedWeight& weight, int64_t num_products, Work&& work) {
  ThreadPool& pool = pool_of(stream);
  const int64_t units = num_units(weight), piece = units_in_piece(weight, pool.num_threads());
  const int64_t pieces = (units + piece - 1) / piece;
  const int64_t num_items = pieces * weight.num_matrices;
  const int64_t cost = num_products * weight.num_rows * weight.num_cols;
  pool.parallel_for(num_items, cost < kWorthSharing ? num_items : 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % pieces * piece;
      work(item / pieces, first, std::min(first + piece, units));
    }
  });
}

}  // namespace gale
