#pragma once

#include "backends/cuda/device/common.cuh"
#include "backends/cuda/device/mma.cuh"

namespace gale::cuda {

// The portable tensor-core product of this backend: out[m, n] = sum_k a[m, k] * w[n, k], bf16 or e4m3 in (which bf16 holds
// exactly), fp32 accumulation, for a tile of kTileM activations rows by kTileN weight rows. Weight rows are padded with zeros to a multiple of kTileK when packed, so
// only the activations need a guard along K. A row's sum runs over k in order whatever the other rows of the tile are.
inline constexpr int kTileM = 64;
inline constexpr int kTileN = 64;
inline constexpr int kTileK = 32;
inline constexpr int kStages = 3;
inline constexpr int kGemmThreads = 128;             // 4 warps, each 32 x 32
inline constexpr int kPitch = kTileK + 8;            // 80-byte rows: ldmatrix without bank conflicts, 16-byte aligned

struct GemmTiles {
  __nv_bfloat16 a[kStages][kTileM][kPitch];
  __nv_bfloat16 w[kStages][kTileN][kPitch];
};
struct GemmAccumulator { float value[2][4][4]; };    // [16-row part][8-column part][fragment]

// Eight elements into shared memory as bf16; those from `valid` on become zero.
__device__ inline void stage_eight(__nv_bfloat16* to, const __nv_bfloat16* from, int valid, bool aligned) {
  if (aligned) return copy_async_16(to, from, valid * 2);
  for (int j = 0; j < 8; ++j) to[j] = j < valid ? from[j] : __float2bfloat16_rn(0.0f);
}
__device__ inline void stage_eight(__nv_bfloat16* to, const __nv_fp8_e4m3* from, int valid, bool aligned) {
  uint2 packed{};
  if (aligned && valid == 8) {
    packed = *reinterpret_cast<const uint2*>(from);
  } else {
    for (int j = 0; j < valid; ++j) reinterpret_cast<__nv_fp8_e4m3*>(&packed)[j] = from[j];
  }
  const auto* value = reinterpret_cast<const __nv_fp8_e4m3*>(&packed);
  for (int j = 0; j < 8; ++j) to[j] = from_float<__nv_bfloat16>(to_float(value[j]));
}

// One 32-wide slice of K into shared memory. row_of(r): pointer to activation row r of the tile, or null beyond the last row.
template <class T, class RowOf>
__device__ void load_slice(GemmTiles& tiles, int stage, RowOf&& row_of, const T* weight, int64_t weight_pitch,
                           int num_weight_rows, int k, int size_k, bool aligned) {
  constexpr int kChunks = kTileK / 8;                // pieces of eight elements a row
  for (int i = threadIdx.x; i < kTileM * kChunks; i += kGemmThreads) {
    const int r = i / kChunks, at = k + i % kChunks * 8;
    const T* row = row_of(r);
    const int valid = row == nullptr ? 0 : max(0, min(8, size_k - at));
    stage_eight(&tiles.a[stage][r][i % kChunks * 8], valid > 0 ? row + at : weight, valid, aligned);
  }
  for (int i = threadIdx.x; i < kTileN * kChunks; i += kGemmThreads) {
    const int r = i / kChunks;
    const bool inside = r < num_weight_rows;
    stage_eight(&tiles.w[stage][r][i % kChunks * 8], inside ? weight + r * weight_pitch + k + i % kChunks * 8 : weight,
                inside ? 8 : 0, true);
  }
  commit_copies();
}

__device__ inline void multiply_slice(const GemmTiles& tiles, int stage, GemmAccumulator& sum) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int m0 = warp / 2 * 32, n0 = warp % 2 * 32;
#pragma unroll
  for (int k = 0; k < kTileK; k += 16) {
    uint32_t a[2][4], b[4][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) load_matrix_x4(a[i], &tiles.a[stage][m0 + i * 16 + lane % 16][k + lane / 16 * 8]);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      uint32_t r[4];
      load_matrix_x4(r, &tiles.w[stage][n0 + j * 8 + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
      b[j][0] = r[0], b[j][1] = r[1], b[j + 1][0] = r[2], b[j + 1][1] = r[3];
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) mma_m16n8k16(sum.value[i][j], a[i], b[j]);
  }
}

template <class T, class RowOf>
__device__ void gemm_tile(GemmTiles& tiles, GemmAccumulator& sum, RowOf&& row_of, const T* weight, int64_t weight_pitch,
                          int num_weight_rows, int size_k, bool aligned) {
  const int num_slices = (size_k + kTileK - 1) / kTileK;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum.value[i][j][e] = 0;
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < num_slices) {
      load_slice(tiles, s, row_of, weight, weight_pitch, num_weight_rows, s * kTileK, size_k, aligned);
    } else {
      commit_copies();
    }
  }
  for (int s = 0; s < num_slices; ++s) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    multiply_slice(tiles, s % kStages, sum);
    const int next = s + kStages - 1;
    if (next < num_slices) {   // overwrites the slice multiplied one turn ago: the barrier above has passed since
      load_slice(tiles, next % kStages, row_of, weight, weight_pitch, num_weight_rows, next * kTileK, size_k, aligned);
    } else {
      commit_copies();
    }
  }
  wait_for_copies<0>();
}

// Calls store(row in tile, column in tile, value) for each element this thread holds.
template <class Store>
__device__ void store_tile(const GemmAccumulator& sum, Store&& store) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        store(warp / 2 * 32 + i * 16 + lane / 4 + e / 2 * 8, warp % 2 * 32 + j * 8 + lane % 4 * 2 + e % 2, sum.value[i][j][e]);
}

}  // namespace gale::cuda
