#pragma once

#include "backends/cuda/device/common.cuh"
#include "ops/sample.h"

// What the kernels that draw tokens share.
namespace gale::cuda {

struct Best { float value; int index; };

__device__ inline bool is_better(const Best& a, const Best& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

// The best of a block: largest value, lowest index on ties. `shared` holds 33 entries.
__device__ inline Best block_best(Best best, Best* shared) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const auto reduce = [](Best x) {
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      const Best other{__shfl_xor_sync(kFullMask, x.value, offset), __shfl_xor_sync(kFullMask, x.index, offset)};
      if (is_better(other, x)) x = other;
    }
    return x;
  };
  best = reduce(best);
  __syncthreads();
  if (lane == 0) shared[warp] = best;
  __syncthreads();
  if (warp == 0) {
    best = reduce(lane < static_cast<int>(blockDim.x) / kWarpSize ? shared[lane] : Best{-INFINITY, INT32_MAX});
    if (lane == 0) shared[32] = best;
  }
  __syncthreads();
  return shared[32];
}

// Keys that compare as the floats do, and back.
__device__ inline uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float float_of(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

struct SampleView {
  int32_t* token_ids;
  const float *logits, *temperature, *top_p, *min_p;
  const int32_t *top_k, *slots;
  int32_t* last_tokens;
  const int64_t *seeds, *positions;
  int64_t pitch;
  int vocab;
};

inline SampleView sample_view(const SampleArgs& args) {
  SampleView view{};
  view.token_ids = args.token_ids.as<int32_t>(), view.logits = args.logits.as<float>();
  view.temperature = args.temperature.as<float>(), view.top_p = args.top_p.as<float>(), view.min_p = args.min_p.as<float>();
  view.top_k = args.top_k.as<int32_t>(), view.seeds = args.seeds.as<int64_t>(), view.positions = args.positions.as<int64_t>();
  view.pitch = args.logits.strides[0], view.vocab = static_cast<int>(args.logits.shape[1]);
  if (!args.slots.is_empty()) view.slots = args.slots.as<int32_t>(), view.last_tokens = args.last_tokens.as<int32_t>();
  return view;
}

// The row's draw, or -1 if its logits are no distribution; by one thread.
__device__ inline void store_draw(const SampleView& view, int row, bool is_usable, int token) {
  view.token_ids[row] = is_usable ? token : -1;
  const int slot = view.slots == nullptr ? -1 : view.slots[row];
  if (slot >= 0) view.last_tokens[slot] = is_usable ? token : 0;
}

}  // namespace gale::cuda
