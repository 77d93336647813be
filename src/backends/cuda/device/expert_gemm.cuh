#pragma once

#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma_between.cuh"

// Products of experts that have many tokens, of sm_90a: out[row, n] = sum_k weight[expert, n, k] * in[row / rows_per_input, k], bf16 or
// e4m3, fp32 accumulation. One block an SM works through the tiles of all experts; a tile is 256 weight rows by up to kMaxTokens rows of
// one expert, whose rows are shared out evenly so that few columns of a product are empty. Four warps fill a ring of stages, 128 bytes of
// K each: weights by the copy engine, tokens gathered by index; they run on into the next tile while two warpgroups finish this one.
// Limited by arithmetic at many tokens, by the bytes of the weights at few.
namespace gale::cuda {

struct ExpertGemmView {
  __nv_bfloat16* out;                       // row pitch out_stride, whole 16-byte pieces
  int64_t out_stride;
  const void* in;
  int64_t in_stride;
  const float *weight_scales, *in_scales;   // of e4m3 operands, else null
  const int32_t *sorted, *offsets;          // rows sorted[offsets[e]] … belong to expert e
  int size_n, size_k, num_row_tiles, num_experts, rows_per_input;
  bool is_swiglu;
};

template <class Type>
struct ExpertGemmConfig {
  using T = Type;
  static constexpr int kRows = 256, kMaxTokens = 152, kStages = 4;
  static constexpr int kBlockK = kSwizzledRowBytes / static_cast<int>(sizeof(T));
  static constexpr int kMinBlocks = kStages + 1;             // of K: nobody is more than a tile behind the others
  static constexpr int kWeightBytes = kRows * kSwizzledRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kMaxTokens * kSwizzledRowBytes;
  static constexpr int kConsumers = 256, kProducers = 128, kThreads = kConsumers + kProducers;
  static constexpr int kRound = 16;                          // tokens a warpgroup stores at once
  static constexpr int kPitch = 128 * 2 + 16;                // bytes of a token's results of a warpgroup; the 16 spread rows over the banks
  static constexpr int kStagingBytes = kRound * kPitch;      // two for each warpgroup
  static constexpr int kSharedBytes = kStages * kStageBytes + 4 * kStagingBytes + 1024;
  static constexpr int kMaxExperts = 256;
};

template <class C>
struct ExpertGemmShared {
  uint64_t full[C::kStages], empty[C::kStages];
  int rows[2][C::kMaxTokens];               // of the tile that is multiplied and the one that is loaded
  float factors[2][C::kMaxTokens];          // of e4m3 tokens
  int first_tile[C::kMaxExperts + 1], first_row[C::kMaxExperts + 1];   // tiles of tokens, sorted rows
  int scan[16];
};

struct ExpertTile { int expert, n0, first, num_tokens; bool is_alone; };   // alone: no other tile reads its weights

// Goes through the tiles of this block in order: all row tiles of an expert, each with all of its token tiles.
template <class C>
struct TileWalk {
  int unit = blockIdx.x, expert = 0;

  __device__ bool next(const ExpertGemmView& view, const ExpertGemmShared<C>& shared, ExpertTile& tile) {
    while (expert < view.num_experts && unit >= shared.first_tile[expert + 1] * view.num_row_tiles) ++expert;
    if (expert >= view.num_experts) return false;
    const int begin = shared.first_tile[expert], num_tiles = shared.first_tile[expert + 1] - begin;
    const int in_expert = unit - begin * view.num_row_tiles, column = in_expert % num_tiles;
    const int num_rows = shared.first_row[expert + 1] - shared.first_row[expert];
    const int share = ((num_rows + num_tiles - 1) / num_tiles + 7) / 8 * 8;
    tile = {expert, in_expert / num_tiles * C::kRows, shared.first_row[expert] + column * share, min(share, num_rows - column * share),
            num_tiles == 1};
    unit += gridDim.x;
    return true;
  }
};

// Where the tiles of each expert begin; by all threads.
template <class C>
__device__ void count_tiles(const ExpertGemmView& view, ExpertGemmShared<C>& shared) {
  const int e = threadIdx.x, lane = e % kWarpSize, warp = e / kWarpSize;
  const int begin = e < view.num_experts ? view.offsets[e] : 0, end = e < view.num_experts ? view.offsets[e + 1] : 0;
  int upto = (end - begin + C::kMaxTokens - 1) / C::kMaxTokens;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const int other = __shfl_up_sync(kFullMask, upto, offset);
    if (lane >= offset) upto += other;
  }
  if (lane == kWarpSize - 1) shared.scan[warp] = upto;
  __syncthreads();
  for (int w = 0; w < warp; ++w) upto += shared.scan[w];
  if (e < view.num_experts) shared.first_tile[e + 1] = upto, shared.first_row[e] = begin;
  if (e == view.num_experts - 1) shared.first_row[view.num_experts] = end;
  if (e == 0) shared.first_tile[0] = 0;
}

template <class C>
struct TileRing {
  int stage = 0, parity = 0;
  __device__ void next() {
    if (++stage == C::kStages) stage = 0, parity ^= 1;
  }
};

// --- filling the ring -------------------------------------------------------------------------------------------------------------

template <class C>
__device__ void produce_tiles(const CUtensorMap& weight_map, const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages) {
  using T = typename C::T;
  constexpr int kLag = C::kStages - 2;                       // stages between the request of rows and the word that they are there
  constexpr int kStep = C::kProducers / 8, kItems = (C::kMaxTokens + kStep - 1) / kStep;
  const int thread = threadIdx.x - C::kConsumers, chunk = thread % 8, first = thread / 8;
  const int num_blocks = (view.size_k + C::kBlockK - 1) / C::kBlockK;
  const T* in = static_cast<const T*>(view.in);
  TileWalk<C> walk;
  TileRing<C> ring, landed;
  ExpertTile tile;
  int num_requested = 0, num_landed = 0;
  for (int buffer = 0; walk.next(view, shared, tile); buffer ^= 1) {
    const int num_rows = (tile.num_tokens + 7) / 8 * 8;      // what the product reads beyond is not looked at
    int row[kItems];
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int r = first + item * kStep;
      row[item] = r < tile.num_tokens ? view.sorted[tile.first + r] : -1;
    }
    for (int i = 0; i < num_blocks; ++i, ring.next(), ++num_requested) {
      if (num_requested >= C::kStages) barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);
      if (i == 0) {
        // With kMinBlocks of K, a stage that is free here held a part of the tile before: nobody is at the one before that.
#pragma unroll
        for (int item = 0; item < kItems; ++item) {
          if (row[item] < 0) continue;
          if (chunk == 0) shared.rows[buffer][first + item * kStep] = row[item];
          row[item] /= view.rows_per_input;
          if (sizeof(T) == 1 && chunk == 0) shared.factors[buffer][first + item * kStep] = view.in_scales[row[item]];
        }
      }
      uint8_t* to = stages + ring.stage * C::kStageBytes;
      if (thread == 0) {
        barrier_expect(shared.full[ring.stage], C::kWeightBytes);
#pragma unroll
        for (int box = 0; box < 2; ++box)
          load_box(to + box * 128 * kSwizzledRowBytes, weight_map, i * C::kBlockK, tile.expert * view.size_n + tile.n0 + box * 128,
                   shared.full[ring.stage], tile.is_alone ? kEvictFirst : kEvictNormal);
      }
      const int at = i * C::kBlockK + chunk * (16 / static_cast<int>(sizeof(T)));
      const int valid = max(0, min(16, (view.size_k - at) * static_cast<int>(sizeof(T))));
      to += C::kWeightBytes + first * kSwizzledRowBytes + (chunk ^ (first & 7)) * 16;
#pragma unroll
      for (int item = 0; item < kItems; ++item) {
        if (first + item * kStep >= num_rows) break;
        const bool is_row = row[item] >= 0 && valid > 0;
        copy_async_16(to + item * kStep * kSwizzledRowBytes, is_row ? in + row[item] * view.in_stride + at : in, is_row ? valid : 0);
      }
      commit_copies();
      if (num_requested < kLag) continue;
      wait_for_copies<kLag>();
      fence_async_proxy();
      barrier_arrive(shared.full[landed.stage]);
      landed.next(), ++num_landed;
    }
  }
  wait_for_copies<0>();
  fence_async_proxy();
  for (; num_landed < num_requested; ++num_landed, landed.next()) barrier_arrive(shared.full[landed.stage]);
}

// --- multiplying ------------------------------------------------------------------------------------------------------------------

template <class C, int kTokens>
__device__ void multiply_tile(float (&sum)[2][kTokens / 2], ExpertGemmShared<C>& shared, uint8_t* stages, TileRing<C>& ring, int num_blocks) {
  const int group = threadIdx.x / 128, lane = threadIdx.x % kWarpSize;
  const uint64_t weights = tile_descriptor(stages + group * 128 * kSwizzledRowBytes), tokens = tile_descriptor(stages + C::kWeightBytes);
  int previous = -1;
  for (int i = 0; i < num_blocks; ++i, ring.next()) {
    barrier_wait(shared.full[ring.stage], ring.parity);
    const uint64_t a = weights + ring.stage * (C::kStageBytes / 16), b = tokens + ring.stage * (C::kStageBytes / 16);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int m = 0; m < 2; ++m)
        wgmma_between<typename C::T, kTokens>(sum[m], a + m * (64 * kSwizzledRowBytes / 16) + k * 2, b + k * 2, true);
    wgmma_commit();
    wgmma_wait<1>();                                         // the block before this one is done
    if (previous >= 0 && lane == 0) barrier_arrive(shared.empty[previous]);
    previous = ring.stage;
  }
  wgmma_wait<0>();
  if (lane == 0) barrier_arrive(shared.empty[previous]);
  pin_registers(sum[0]), pin_registers(sum[1]);
}

__device__ inline uint32_t pack_bf16(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Four 8 x 8 fragments, transposed: lane l gives where column l % 8 of fragment l / 8 goes.
__device__ inline void store_fragments(void* to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)), "r"(a), "r"(b), "r"(c),
               "r"(d) : "memory");
}

// The finished tile to memory, kRound tokens at a time through this warpgroup's two staging buffers, so that memory sees rows of
// 16-byte pieces. factor[m][h]: of weight rows m * 64 + h * 8.
template <class C, int kTokens>
__device__ void store_results(const ExpertGemmView& view, const ExpertGemmShared<C>& shared, int buffer, uint8_t* staging,
                              const ExpertTile& tile, const float (&sum)[2][kTokens / 2], const float (&factor)[2][2]) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = threadIdx.x / 128, thread = threadIdx.x % 128;
  const int divisor = view.is_swiglu ? 2 : 1, first = (tile.n0 + group * 128) / divisor, num_columns = view.size_n / divisor;
  const int pieces = 128 / divisor / 8;                      // of a token
#pragma unroll
  for (int round = 0; round < (kTokens + C::kRound - 1) / C::kRound; ++round) {
    if (round * C::kRound >= tile.num_tokens) break;
    uint8_t* to = staging + (group * 2 + round % 2) * C::kStagingBytes;
    const auto unit = [&](int m, int u) -> float4 {          // rows n and n + 8 by two tokens
      if (u * 8 >= kTokens) return {};
      const float* x = &sum[m][u * 4];
      if constexpr (sizeof(typename C::T) == 1) {
        const float2 of_tokens = *reinterpret_cast<const float2*>(&shared.factors[buffer][u * 8 + lane % 4 * 2]);
        return {x[0] * factor[m][0] * of_tokens.x, x[1] * factor[m][0] * of_tokens.y, x[2] * factor[m][1] * of_tokens.x,
                x[3] * factor[m][1] * of_tokens.y};
      }
      return {x[0], x[1], x[2], x[3]};
    };
    if (view.is_swiglu) {                                    // gate and up rows lie 8 apart: packing.cuh
      const auto packed = [&](int m, int u) {
        const float4 x = unit(m, u);
        return pack_bf16(silu(x.x) * x.z, silu(x.y) * x.w);
      };
      const int token = lane / 8 % 2 * 8 + lane % 8, column = lane / 16 * 32 + warp * 8;
      store_fragments(to + token * C::kPitch + column * 2, packed(0, round * 2), packed(0, round * 2 + 1), packed(1, round * 2),
                      packed(1, round * 2 + 1));
    } else {
      const int token = lane / 16 * 8 + lane % 8;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const float4 a = unit(m, round * 2), b = unit(m, round * 2 + 1);
        store_fragments(to + token * C::kPitch + (m * 64 + warp * 16 + lane / 8 % 2 * 8) * 2, pack_bf16(a.x, a.y), pack_bf16(a.z, a.w),
                        pack_bf16(b.x, b.y), pack_bf16(b.z, b.w));
      }
    }
    if (group == 0) asm volatile("bar.sync 1, 128;" ::: "memory"); else asm volatile("bar.sync 2, 128;" ::: "memory");
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = half * 128 + thread, token = i / pieces, column = first + i % pieces * 8;
      if (token >= C::kRound || round * C::kRound + token >= tile.num_tokens || column >= num_columns) continue;
      *reinterpret_cast<uint4*>(view.out + shared.rows[buffer][round * C::kRound + token] * view.out_stride + column) =
          *reinterpret_cast<const uint4*>(to + token * C::kPitch + i % pieces * 16);
    }
  }
}

template <class C, int kTokens>
__device__ void consume_tile(const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages, TileRing<C>& ring, int buffer,
                             const ExpertTile& tile) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = threadIdx.x / 128;
  float factor[2][2]{};
  if constexpr (sizeof(typename C::T) == 1) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = tile.n0 + (group * 2 + m) * 64 + warp * 16 + lane / 4 + h * 8;
        if (n < view.size_n) factor[m][h] = view.weight_scales[static_cast<int64_t>(tile.expert) * view.size_n + n];
      }
  }
  float sum[2][kTokens / 2]{};                               // set, or it would live on through the products of other widths
  multiply_tile<C, kTokens>(sum, shared, stages, ring, (view.size_k + C::kBlockK - 1) / C::kBlockK);
  store_results<C, kTokens>(view, shared, buffer, stages + C::kStages * C::kStageBytes, tile, sum, factor);
}

// With the narrowest product that holds the tile's tokens.
template <class C>
__device__ void consume_tiles(const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages) {
  TileWalk<C> walk;
  TileRing<C> ring;
  ExpertTile tile;
  for (int buffer = 0; walk.next(view, shared, tile); buffer ^= 1) {
    switch (max(4, (tile.num_tokens + 15) / 16)) {
      case 4: consume_tile<C, 64>(view, shared, stages, ring, buffer, tile); break;
      case 5: consume_tile<C, 80>(view, shared, stages, ring, buffer, tile); break;
      case 6: consume_tile<C, 96>(view, shared, stages, ring, buffer, tile); break;
      case 7: consume_tile<C, 112>(view, shared, stages, ring, buffer, tile); break;
      case 8: consume_tile<C, 128>(view, shared, stages, ring, buffer, tile); break;
      case 9: consume_tile<C, 144>(view, shared, stages, ring, buffer, tile); break;
      default: consume_tile<C, 152>(view, shared, stages, ring, buffer, tile); break;
    }
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) expert_gemm_kernel(const __grid_constant__ CUtensorMap weight_map,
                                                                     const __grid_constant__ ExpertGemmView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ ExpertGemmShared<C> shared;
  uint8_t* stages = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  if (threadIdx.x == 0) {
    prefetch_map(weight_map);
    for (int s = 0; s < C::kStages; ++s) {
      barrier_init(shared.full[s], 1 + C::kProducers);
      barrier_init(shared.empty[s], C::kConsumers / kWarpSize);
    }
    fence_barrier_init();
  }
  wait_for_predecessor();
  if (threadIdx.x == 0) release_successor();
  count_tiles<C>(view, shared);
  __syncthreads();
  if (threadIdx.x < C::kConsumers) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 216;");
    consume_tiles<C>(view, shared, stages);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 72;");
    produce_tiles<C>(weight_map, view, shared, stages);
  }
}

}  // namespace gale::cuda
