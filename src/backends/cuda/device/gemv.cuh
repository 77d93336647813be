#pragma once

#include "backends/cuda/device/hopper.cuh"

// Dense products of up to 8 tokens by small bf16 weights on sm_90a: out[token, n] = sum_k weight[n, k] * in[token, k],
// fp32 accumulation; one matrix, or one a head. Limited by weight bytes, and where these are few by what comes before
// the first and after the last of them. A block takes 16 weight rows, its warps share K; weights go from memory right
// into registers, in the order in which a lane of mma.m16n8k16 wants them: which element of K a place of a product is,
// is free as long as weights and tokens agree, so each lane loads 16 bytes of a row at a time. No shared memory but for
// the sums at the end: several blocks share an SM, those of the next such kernel among them, and their first weights
// are on the way before the predecessor has ended.
namespace gale::cuda {

struct GemvView {
  __nv_bfloat16* out;              // [tokens, heads, n]
  const std::byte *weight, *in;    // [heads, n, k packed], [tokens, heads, k]
  int64_t out_token, out_head;     // elements
  int64_t in_token, in_head;       // bytes
  int64_t pitch, weight_head;      // bytes
  const __nv_bfloat16* bias;       // [size_n] or null
  int num_tokens, size_n, row_bytes;   // row_bytes: of K, a multiple of 16
};

inline constexpr int kGemvRows = 16, kGemvTokens = 8, kMaxGemvWarps = 8;
inline constexpr int kGemvStepBytes = 64;   // of each row: 16 a lane

// 16 bytes that nobody reads again, zeros where there are none.
__device__ inline uint4 load_once(const std::byte* from, bool is_inside) {
  uint4 x;
  asm volatile(
      "{\n.reg .pred inside;\n"
      "setp.ne.b32 inside, %5, 0;\n"
      "mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0;\n"
      "@inside ld.global.nc.L1::no_allocate.L2::cache_hint.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4], %6;\n}"
      : "=&r"(x.x), "=&r"(x.y), "=&r"(x.z), "=&r"(x.w)
      : "l"(from), "r"(static_cast<int>(is_inside)), "l"(kEvictFirst));
  return x;
}

// d += 16 weight rows by 8 tokens, 64 bytes of K.
__device__ inline void multiply_step(float (&d)[4], const uint4& low, const uint4& high, const uint4& x) {
  mma_m16n8k16(d, {low.x, high.x, low.y, high.y}, {x.x, x.y});
  mma_m16n8k16(d, {low.z, high.z, low.w, high.w}, {x.z, x.w});
}

// Its grid: groups of 16 rows, heads. kSlots: steps that a warp has on the way, even.
template <int kSlots, int kBlocksOfSm>
__global__ void __launch_bounds__(kMaxGemvWarps * kWarpSize, kBlocksOfSm)
    gemv_kernel(const __grid_constant__ GemvView view) {
  __shared__ float parts[kMaxGemvWarps][kGemvTokens][kGemvRows];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, num_warps = blockDim.x / kWarpSize;
  const int group = lane / 4, offset = lane % 4 * 16, n0 = blockIdx.x * kGemvRows;
  // Warps take 128 bytes of the rows in turn: two steps.
  const int num_pairs = (view.row_bytes + 2 * kGemvStepBytes - 1) / (2 * kGemvStepBytes);
  const int num_steps = (num_pairs - warp + num_warps - 1) / num_warps * 2;
  const auto place = [&](int step) { return ((step / 2 * num_warps + warp) * 2 + step % 2) * kGemvStepBytes + offset; };
  const auto row_of = [&](int row) {
    return view.weight + blockIdx.y * view.weight_head + min(n0 + row, view.size_n - 1) * view.pitch;
  };
  const std::byte *low = row_of(group), *high = row_of(group + 8);
  uint4 weights[kSlots][2], tokens[kSlots];
  const auto load_weights = [&](int slot, int step) {
    const int at = place(step);
    const bool is_inside = at < view.row_bytes;
    weights[slot][0] = load_once(low + at, is_inside);
    weights[slot][1] = load_once(high + at, is_inside);
  };
  const std::byte* own_token = view.in + min(group, view.num_tokens - 1) * view.in_token + blockIdx.y * view.in_head;
  const auto load_tokens = [&](int slot, int step) {
    const int at = place(step);
    const bool is_inside = at < view.row_bytes && group < view.num_tokens;
    tokens[slot] = is_inside ? *reinterpret_cast<const uint4*>(own_token + at) : uint4{};
  };
#pragma unroll
  for (int s = 0; s < kSlots; ++s) load_weights(s, s);
  wait_for_predecessor();
  release_successor();
#pragma unroll
  for (int s = 0; s < kSlots; ++s) load_tokens(s, s);
  float sum[4] = {};
#pragma unroll 1
  for (int first = 0; first < num_steps; first += kSlots) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      multiply_step(sum, weights[s][0], weights[s][1], tokens[s]);
      load_weights(s, first + s + kSlots);
      load_tokens(s, first + s + kSlots);
    }
  }
  // The lane has rows group and group + 8 of tokens 2 (lane % 4) and the next.
#pragma unroll
  for (int e = 0; e < 4; ++e) parts[warp][lane % 4 * 2 + e % 2][group + e / 2 * 8] = sum[e];
  __syncthreads();
  for (int i = threadIdx.x; i < view.num_tokens * kGemvRows; i += blockDim.x) {
    const int token = i / kGemvRows, row = i % kGemvRows, n = n0 + row;
    if (n >= view.size_n) continue;
    float x = 0;
    for (int w = 0; w < num_warps; ++w) x += parts[w][token][row];
    if (view.bias != nullptr) x += to_float(view.bias[n]);
    view.out[token * view.out_token + blockIdx.y * view.out_head + n] = from_float<__nv_bfloat16>(x);
  }
}

}  // namespace gale::cuda
