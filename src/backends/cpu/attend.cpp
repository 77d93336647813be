#include "backends/cpu/attend.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/kernels.h"

namespace gale {
namespace {

constexpr int64_t kStretch = 128;   // keys whose scores are held at once

// visit(run of keys, run of values, offset in the stretch) for the parts of blocks that cover positions begin … end.
template <class Visit>
void for_each_run(const PagedKeys& keys, int64_t begin, int64_t end, Visit visit) {
  const auto element = static_cast<int64_t>(size_of(keys.dtype));
  for (int64_t position = begin; position < end;) {
    const int64_t offset = position % keys.block_size;
    const int64_t size = std::min(keys.block_size - offset, end - position);
    const int64_t at =
        (keys.block_table[position / keys.block_size] * keys.block_stride + offset * keys.token_stride) * element;
    const auto run = [&](const std::byte* base) {
      return KeyBlock{
          .dtype = keys.dtype, .keys = base + at, .stride = keys.token_stride, .num_keys = static_cast<int>(size)};
    };
    visit(run(keys.keys), run(keys.values), position - begin);
    position += size;
  }
}

// The softmax of a row so far.
struct RunningSoftmax {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

// Keys begin … end for the rows that `chosen` names.
void attend_stretch(std::span<const AttendRow> rows, std::span<const int> chosen, RunningSoftmax* softmax,
                    int64_t value_size, int64_t key_size, float scale, const PagedKeys& keys, int64_t begin,
                    int64_t end) {
  const CpuKernels& kernels = cpu_kernels();
  float scores[kMaxQueryRows][kStretch];
  QueryRows block;
  for (const int row : chosen) {
    block.query[block.num_rows] = rows[static_cast<size_t>(row)].query;
    block.out[block.num_rows++] = rows[static_cast<size_t>(row)].out;
  }
  const auto at_offset = [&](int64_t offset) {
    for (int r = 0; r < block.num_rows; ++r) block.scores[r] = scores[r] + offset;
  };
  for_each_run(keys, begin, end, [&](const KeyBlock& run, const KeyBlock&, int64_t offset) {
    at_offset(offset);
    kernels.scores(block, key_size, scale, run);
  });
  for (int r = 0; r < block.num_rows; ++r) {
    RunningSoftmax& state = softmax[chosen[static_cast<size_t>(r)]];
    const float max = std::max(state.max, kernels.max_of(scores[r], end - begin));
    block.keep[r] = std::exp(state.max - max);   // what was summed under the old maximum shrinks by this
    state.sum = state.sum * block.keep[r] + kernels.exp_and_sum(scores[r], max, static_cast<int>(end - begin));
    state.max = max;
  }
  for_each_run(keys, begin, end, [&](const KeyBlock&, const KeyBlock& run, int64_t offset) {
    at_offset(offset);
    kernels.accumulate(block, value_size, run);
    std::fill_n(block.keep, block.num_rows, 1.0f);
  });
}

}  // namespace

void attend(std::span<const AttendRow> rows, int64_t value_size, int64_t key_size, float scale,
            const PagedKeys& keys) {
  CHECK(rows.size() <= kMaxQueryRows, "{} rows", rows.size());
  RunningSoftmax softmax[kMaxQueryRows];
  int64_t longest = 0;
  for (const AttendRow& row : rows) {
    std::fill_n(row.out, value_size, 0.0f);
    longest = std::max(longest, row.num_keys);
  }
  for (int64_t begin = 0; begin < longest; begin += kStretch) {
    // Rows that see equally much of this stretch go through it together: nearly always all.
    const auto end_of = [&](size_t row) { return std::min(begin + kStretch, rows[row].num_keys); };
    bool is_done[kMaxQueryRows] = {};
    for (size_t first = 0; first < rows.size(); ++first) {
      if (is_done[first] || end_of(first) <= begin) continue;
      int chosen[kMaxQueryRows];
      size_t count = 0;
      for (size_t row = first; row < rows.size(); ++row) {
        if (end_of(row) != end_of(first)) continue;
        is_done[row] = true;
        chosen[count++] = static_cast<int>(row);
      }
      attend_stretch(rows, {chosen, count}, softmax, value_size, key_size, scale, keys, begin, end_of(first));
    }
  }
  for (size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].num_keys <= 0) continue;
    QueryRows block{.num_rows = 1};
    block.out[0] = rows[row].out;
    block.keep[0] = 1.0f / softmax[row].sum;
    cpu_kernels().accumulate(block, value_size, {.dtype = DType::kF32, .num_keys = 0});
  }
}

int64_t attend_rows_for(int64_t num_rows, int num_threads) {
  constexpr int64_t kPiecesAThread = 4;
  return std::clamp<int64_t>(num_rows / (kPiecesAThread * num_threads), 1, kMaxQueryRows);
}

TokenPlace place_of(const AttentionMetadata& metadata, int64_t token) {
  const int32_t* starts = metadata.query_start_loc.as<int32_t>();
  const int32_t* end = starts + metadata.num_seqs + 1;
  const int sequence = static_cast<int>(std::upper_bound(starts, end, token) - starts) - 1;
  if (sequence < 0 || sequence >= metadata.num_seqs) return {};
  const int64_t after = starts[sequence + 1] - token - 1;   // tokens of this step that come later
  return {.sequence = sequence, .num_keys = metadata.seq_lens.as<int32_t>()[sequence] - after};
}

}  // namespace gale
