#pragma once

#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma.cuh"

// Dense products of few tokens by small weights on sm_90a: out[token, n] = sum_k weight[n, k] * in[token, k], bf16 or
// e4m3, fp32 accumulation. Limited by weight bytes, and where these are few by everything before the first and after
// the last of them: so a block takes few weight rows and all of their K. Much of its weights is on the way before the
// predecessor has ended, and nobody waits for other blocks in the end. Tokens are on the tensor cores' side of 64 rows;
// those beyond the last are neither loaded (a row outside of a matrix takes the copy engine several clocks, which the
// weights then lack) nor stored.
namespace gale::cuda {

struct SkinnyGemmView {
  __nv_bfloat16* out;  // [tokens, n], row pitch out_stride
  int64_t out_stride;
  const float *weight_scales, *in_scales;  // of e4m3 operands, else null
  const __nv_bfloat16* bias;               // [size_n] or null
  int num_tokens, size_n, num_k_blocks;
};

template <class Type, int kBlockRows, int kBlockTokens>
struct SkinnyGemmConfig {
  using T = Type;
  static constexpr int kRows = kBlockRows;
  static constexpr int kTokens = kBlockTokens;  // 8 to 64
  // Warpgroups that multiply, a block of K each in turn: as many as registers and stages of two blocks an SM allow.
  static constexpr int kGroups = kRows == 16 ? 4 : kTokens == 64 ? 2 : 3;
  static constexpr int kConsumers = kGroups * 128;
  static constexpr int kThreads = kConsumers + kWarpSize;
  static constexpr int kBlockK = kSwizzledRowBytes / static_cast<int>(sizeof(T));
  static constexpr int kWeightBytes = kRows * kSwizzledRowBytes, kTokenBytes = kTokens * kSwizzledRowBytes;
  // Two blocks fit into an SM; products read 64 token rows, so something must follow the last tokens. Each stage is one
  // group's for good: copies land in any order, and a group that came to a stage whose last contents another one still
  // awaits would take the parity of the time before for its own.
  static constexpr int kStages = 106 * 1024 / (kWeightBytes + kTokenBytes) / kGroups * kGroups;
  static constexpr int kSharedBytes = kStages * (kWeightBytes + kTokenBytes) + 1024;
  static_assert(kStages * kWeightBytes >= 64 * kSwizzledRowBytes && kStages >= kGroups);
};

template <class C>
struct SkinnyGemmShared {
  uint64_t full[C::kStages], empty[C::kStages];
};

// By one thread.
template <class C>
__device__ void fill_skinny(const CUtensorMap& weight_map, const CUtensorMap& in_map, const SkinnyGemmView& view,
                            SkinnyGemmShared<C>& shared, uint8_t* tokens, uint8_t* weights) {
  const int num_early = min(C::kStages, view.num_k_blocks), n0 = blockIdx.x * C::kRows;
  const int stage_bytes = C::kWeightBytes + view.num_tokens * kSwizzledRowBytes;
  const auto load_weights = [&](int stage, int k) {
    barrier_expect(shared.full[stage], stage_bytes);
    load_box(weights + stage * C::kWeightBytes, weight_map, k * C::kBlockK, n0, shared.full[stage], kEvictFirst);
  };
  const auto load_tokens = [&](int stage, int k) {
    load_box(tokens + stage * C::kTokenBytes, in_map, k * C::kBlockK, 0, shared.full[stage], kEvictLast);
  };
  for (int i = 0; i < num_early; ++i) load_weights(i, i);
  wait_for_predecessor();
  release_successor();
  for (int i = 0; i < num_early; ++i) load_tokens(i, i);
  Ring<C> ring;
  for (int i = num_early; i < view.num_k_blocks; ++i, ring.next()) {
    barrier_wait(shared.empty[ring.stage], ring.parity);  // its contents of kStages blocks ago are used
    load_weights(ring.stage, i);
    load_tokens(ring.stage, i);
  }
}

// Sums of this warpgroup's blocks of K. Those of e4m3 leave the tensor cores, which add with few bits, every 128 of K.
template <class C>
__device__ void multiply_skinny(float (&sum)[C::kRows / 2], SkinnyGemmShared<C>& shared, uint8_t* tokens,
                                uint8_t* weights, int num_k_blocks) {
  const int group = own_warpgroup();
  const uint64_t a0 = tile_descriptor(tokens), b0 = tile_descriptor(weights);
  float part[C::kRows / 2];
#pragma unroll
  for (float& x : sum) x = 0;
  int stage = group, parity = 0;
  for (int i = group; i < num_k_blocks; i += C::kGroups) {
    barrier_wait(shared.full[stage], parity);
    const uint64_t a = a0 + stage * (C::kTokenBytes / 16), b = b0 + stage * (C::kWeightBytes / 16);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) wgmma<typename C::T, C::kRows>(part, a + k * 2, b + k * 2, k > 0);
    wgmma_commit();
    wgmma_wait<0>();
    pin_registers(part);
    if (threadIdx.x % kWarpSize == 0) barrier_arrive(shared.empty[stage]);
#pragma unroll
    for (int e = 0; e < C::kRows / 2; ++e) sum[e] += part[e];
    stage += C::kGroups;
    if (stage >= C::kStages) stage -= C::kStages, parity ^= 1;
  }
}

// Factors and biases of the two weight rows that a thread has of every 8, and of its two tokens.
template <class C>
struct SkinnyFinish {
  float2 row_factors[C::kRows / 8], biases[C::kRows / 8];
  float low = 1, high = 1;

  __device__ SkinnyFinish(const SkinnyGemmView& view, int n0, int token) {
#pragma unroll
    for (int j = 0; j < C::kRows / 8; ++j) {
      const int n = n0 + j * 8;
      const bool has_first = n < view.size_n, has_second = n + 1 < view.size_n, has_scales = sizeof(typename C::T) == 1;
      row_factors[j] = {has_scales && has_first ? view.weight_scales[n] : 1.0f,
                        has_scales && has_second ? view.weight_scales[n + 1] : 1.0f};
      biases[j] = {view.bias != nullptr && has_first ? to_float(view.bias[n]) : 0.0f,
                   view.bias != nullptr && has_second ? to_float(view.bias[n + 1]) : 0.0f};
    }
    wait_for_predecessor();  // the tokens' factors are of its making
    if constexpr (sizeof(typename C::T) == 1) {
      if (token < view.num_tokens) low = view.in_scales[token];
      if (token + 8 < view.num_tokens) high = view.in_scales[token + 8];
    }
  }
  __device__ void store(const SkinnyGemmView& view, int j, int n, int token, float token_factor, float x,
                        float y) const {
    if (token >= view.num_tokens || n >= view.size_n) return;
    x = x * row_factors[j].x * token_factor + biases[j].x, y = y * row_factors[j].y * token_factor + biases[j].y;
    __nv_bfloat16* to = view.out + token * view.out_stride + n;
    if (n + 1 < view.size_n) {
      *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(x, y);
    } else {
      *to = from_float<__nv_bfloat16>(x);
    }
  }
};

template <class C>
__global__ void __launch_bounds__(C::kThreads, 2)
    skinny_gemm_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap in_map,
                       const __grid_constant__ SkinnyGemmView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ SkinnyGemmShared<C> shared;
  uint8_t* tokens = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  uint8_t* weights = tokens + C::kStages * C::kTokenBytes;
  if (threadIdx.x == C::kConsumers) {
    prefetch_map(weight_map);
    prefetch_map(in_map);
    for (int s = 0; s < C::kStages; ++s) {
      barrier_init(shared.full[s], 1);
      barrier_init(shared.empty[s], 4);  // warps of the group that uses it
    }
    fence_barrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= C::kConsumers) {
    if (threadIdx.x == C::kConsumers) fill_skinny<C>(weight_map, in_map, view, shared, tokens, weights);
    return;
  }
  const int thread = threadIdx.x % 128, group = threadIdx.x / 128;
  const int lane = thread % kWarpSize, n0 = blockIdx.x * C::kRows + lane % 4 * 2,
            token = thread / kWarpSize * 16 + lane / 4;
  const SkinnyFinish<C> finish(view, n0, token);
  float sum[C::kRows / 2];
  multiply_skinny<C>(sum, shared, tokens, weights, view.num_k_blocks);
  const auto sync = [] { asm volatile("bar.sync 1, %0;" ::"n"(C::kConsumers) : "memory"); };
  auto* parts =
      reinterpret_cast<float (*)[C::kRows / 2][128]>(tokens);  // of all groups but the first: the ring is free
  sync();
  if (group > 0)
#pragma unroll
    for (int e = 0; e < C::kRows / 2; ++e) parts[group - 1][e][thread] = sum[e];
  sync();
  if (group > 0) return;
#pragma unroll
  for (int e = 0; e < C::kRows / 2; ++e)
#pragma unroll
    for (int other = 0; other < C::kGroups - 1; ++other) sum[e] += parts[other][e][thread];
#pragma unroll
  for (int j = 0; j < C::kRows / 8; ++j) {
    finish.store(view, j, n0 + j * 8, token, finish.low, sum[j * 4], sum[j * 4 + 1]);
    finish.store(view, j, n0 + j * 8, token + 8, finish.high, sum[j * 4 + 2], sum[j * 4 + 3]);
  }
}

}  // namespace gale::cuda
