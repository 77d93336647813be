// The draw on Hopper: a cluster of eight blocks holds a row of logits in registers, so that it is read once. The borders of top-k and
// top-p are found three bits of an order-preserving key at a time: seven sums a pass, over the block by shuffles, over the cluster
// through its shared memory, always in the same order. Limited by the memory's latency for greedy rows, by these passes (11 for each
// border) and the random numbers of 150,000 tokens for others.
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/logits.cuh"
#include "backends/cuda/ops.h"
#include "ops/philox.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kBlocks = 8;                             // a row
constexpr int kPacks = 5, kWidth = 4;                  // logits a thread: packs of four
constexpr int kSlice = kThreads * kPacks * kWidth;     // logits a block
constexpr int kBorders = 7;                            // three bits a pass
constexpr uint32_t kNothing = 0;                       // key of no logit: below that of -inf

struct Shared {
  float warp_sums[kBorders][kWarpSize];
  float sums[2][8];                                    // of this block; two passes may be in sight of the cluster
  float totals[8];
  Best bests[33];
  Best best[2];
};

struct Row {
  uint32_t key[kPacks][kWidth];
  int first;                                           // token of key[0][0]
  int num_passes = 0;

  __device__ static int token(int first, int pack, int j) { return first + pack * kThreads * kWidth + j; }

  template <class F>
  __device__ void each(F&& f) const {
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack)
#pragma unroll
      for (int j = 0; j < kWidth; ++j) f(key[pack][j], token(first, pack, j));
  }
};

__device__ bool load(Row& row, const float* logits, int vocab, bool aligned) {
  bool holds_nan = false;
#pragma unroll
  for (int pack = 0; pack < kPacks; ++pack) {
    const int at = Row::token(row.first, pack, 0);
    float x[kWidth];
    if (aligned && at + kWidth <= vocab) {
      const float4 four = *reinterpret_cast<const float4*>(logits + at);
      x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) x[j] = at + j < vocab ? logits[at + j] : -INFINITY;
    }
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      holds_nan |= x[j] != x[j];
      row.key[pack][j] = at + j < vocab ? key_of(x[j]) : kNothing;
    }
  }
  return holds_nan;
}

template <class T>
__device__ T load_word(const T* p, int block_rank) {
  static_assert(sizeof(T) == 4);
  uint32_t bits;
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %1, %2;\nld.shared::cluster.u32 %0, [remote];\n}"
      : "=r"(bits) : "r"(shared_address(p)), "r"(block_rank) : "memory");
  return *reinterpret_cast<T*>(&bits);
}

// The best of the cluster.
__device__ Best cluster_best(Row& row, Best best, Shared& shared) {
  best = block_best(best, shared.bests);
  Best& own = shared.best[row.num_passes++ % 2];
  if (threadIdx.x == 0) own = best;
  cluster_sync();
  for (int rank = 0; rank < kBlocks; ++rank) {
    const Best other{load_word(&own.value, rank), load_word(&own.index, rank)};
    if (is_better(other, best)) best = other;
  }
  return best;
}

// Sums over the cluster of weight(key) for keys at or above each of the borders; shared.totals holds them afterwards.
template <class Weight>
__device__ void sum_above(Row& row, const uint32_t (&borders)[kBorders], Shared& shared, Weight&& weight) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  float sum[kBorders] = {};
  row.each([&](uint32_t key, int) {
    const float x = key == kNothing ? 0.0f : weight(key);
#pragma unroll
    for (int b = 0; b < kBorders; ++b) sum[b] += key >= borders[b] ? x : 0.0f;
  });
#pragma unroll
  for (int b = 0; b < kBorders; ++b) {
    const float total = warp_sum(sum[b]);
    if (lane == 0) shared.warp_sums[b][warp] = total;
  }
  __syncthreads();
  float(&own)[8] = shared.sums[row.num_passes++ % 2];
  if (warp < kBorders) {
    const float total = warp_sum(shared.warp_sums[warp][lane]);
    if (lane == 0) own[warp] = total;
  }
  cluster_sync();
  if (threadIdx.x < kBorders) {
    float total = 0;
    for (int rank = 0; rank < kBlocks; ++rank) total += load_word(&own[threadIdx.x], rank);
    shared.totals[threadIdx.x] = total;
  }
  __syncthreads();
}

// The largest key whose sum of weights at or above it reaches `wanted`; 0 if none does.
template <class Weight>
__device__ uint32_t largest_key(Row& row, float wanted, Shared& shared, Weight&& weight) {
  uint32_t key = 0;
  for (int shift = 29; shift > -3; shift -= 3) {
    uint32_t borders[kBorders];
#pragma unroll
    for (int b = 0; b < kBorders; ++b) borders[b] = key | (shift >= 0 ? (b + 1u) << shift : (b + 1u) >> -shift);
    sum_above(row, borders, shared, weight);
    uint32_t reached = key;
#pragma unroll
    for (int b = 0; b < kBorders; ++b)
      if (shared.totals[b] >= wanted) reached = borders[b];
    key = reached;
    __syncthreads();                                     // totals are read
  }
  return key;
}

// The key below which a row's tokens are out, after top-k and top-p.
__device__ uint32_t border_of(Row& row, const SampleView& view, int index, float maximum, float temperature, Shared& shared) {
  const int top_k = view.top_k[index];
  const float top_p = view.top_p[index];
  uint32_t border = 0;
  if (top_k > 0 && top_k < view.vocab)                   // counts are exact: a vocabulary has fewer than 2^24 entries
    border = largest_key(row, static_cast<float>(top_k), shared, [](uint32_t) { return 1.0f; });
  if (top_p >= 1.0f) return border;
  const auto mass = [&](uint32_t key) { return key < border ? 0.0f : expf((float_of(key) - maximum) / temperature); };
  const uint32_t all[kBorders] = {border, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
  sum_above(row, all, shared, mass);
  const float wanted = top_p * shared.totals[0];
  __syncthreads();
  // A sum of 0 is reached by nothing: the best token stays.
  return max(border, min(largest_key(row, wanted, shared, mass), key_of(maximum)));
}

__global__ void __launch_bounds__(kThreads, 1) sample_kernel(SampleView view, bool aligned) {
  __shared__ Shared shared;
  wait_for_predecessor();
  release_successor();
  const int index = blockIdx.x / kBlocks, rank = blockIdx.x % kBlocks;
  const float temperature = view.temperature[index];
  Row row;
  row.first = rank * kSlice + static_cast<int>(threadIdx.x) * kWidth;
  const bool holds_nan = __syncthreads_or(load(row, view.logits + index * view.pitch, view.vocab, aligned));
  Best best{-INFINITY, INT32_MAX};
  row.each([&](uint32_t key, int token) {
    if (key != kNothing && is_better({float_of(key), token}, best)) best = {float_of(key), token};
  });
  if (holds_nan) best = {INFINITY, INT32_MAX};             // what no usable row has
  best = cluster_best(row, best, shared);
  const bool is_usable = isfinite(best.value);
  if (temperature > 0 && is_usable) {
    const float maximum = best.value, min_p = view.min_p[index];
    const uint32_t border = border_of(row, view, index, maximum, temperature, shared);
    const uint64_t seed = view.seeds[index], position = view.positions[index];
    Best drawn{-INFINITY, INT32_MAX};
    row.each([&](uint32_t key, int token) {
      const float x = float_of(key), scaled = (x - maximum) / temperature;
      if (key == kNothing || key < border || x == -INFINITY || (min_p > 0 && expf(scaled) < min_p)) return;
      const Best candidate{x / temperature + gumbel_of_bits(sample_bits(seed, position, token)), token};
      if (is_better(candidate, drawn)) drawn = candidate;
    });
    best = cluster_best(row, drawn, shared);
  }
  if (rank == 0 && threadIdx.x == 0) store_draw(view, index, is_usable, best.index);
  cluster_sync();                                          // nobody leaves while others read its shared memory
}

}  // namespace

void run_sample_cluster(Stream& stream, const SampleArgs& args) {
  const SampleView view = sample_view(args);
  const bool aligned = reinterpret_cast<uintptr_t>(view.logits) % 16 == 0 && view.pitch % kWidth == 0;
  launch_cluster_pdl(stream, sample_kernel, dim3(args.logits.shape[0] * kBlocks), kBlocks, dim3(kThreads), 0, view, aligned);
}

bool sample_cluster_supports(const DeviceCaps& caps, const SampleArgs& args) {
  return caps.compute_capability == 90 && args.logits.shape[1] <= static_cast<int64_t>(kBlocks) * kSlice;
}

}  // namespace gale::cuda
