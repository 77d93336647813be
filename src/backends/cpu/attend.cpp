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

}  // namespace

void attend(float* out, int64_t value_size, const float* query, int64_t key_size, float scale, int64_t num_keys,
            const PagedKeys& keys) {
  const CpuKernels& kernels = cpu_kernels();
  float scores[kStretch];
  float max = -std::numeric_limits<float>::infinity(), sum = 0;
  std::fill_n(out, value_size, 0.0f);
  for (int64_t begin = 0; begin < num_keys; begin += kStretch) {
    const int64_t end = std::min(begin + kStretch, num_keys);
    for_each_run(keys, begin, end, [&](const KeyBlock& run, const KeyBlock&, int64_t offset) {
      kernels.scores(scores + offset, query, key_size, scale, run);
    });
    const float new_max = std::max(max, kernels.max_of(scores, end - begin));
    float keep = std::exp(max - new_max);   // what was summed under the old maximum shrinks by this
    sum = sum * keep + kernels.exp_and_sum(scores, new_max, static_cast<int>(end - begin));
    max = new_max;
    for_each_run(keys, begin, end, [&](const KeyBlock&, const KeyBlock& run, int64_t offset) {
      kernels.accumulate(out, value_size, keep, scores + offset, run);
      keep = 1.0f;
    });
  }
  if (num_keys > 0) kernels.accumulate(out, value_size, 1.0f / sum, scores, {.dtype = DType::kF32, .num_keys = 0});
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
