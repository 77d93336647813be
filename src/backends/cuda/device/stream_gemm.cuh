#pragma once

#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma.cuh"

// The product of sm_90a, weights on the wide side of the tensor cores: out[token, n] = sum_k weight[n, k] * in[token, k], bf16 or
// e4m3, fp32 accumulation, dense or for experts whose tokens are gathered by index. A block computes kRows weight rows by up to
// kMaxTokens tokens. One warp (or a few that gather) fills a ring of stages, 128 bytes of K each; two warpgroups multiply.
//
// Few tokens: limited by weight bytes. Weights are requested before the predecessor kernel has ended; where there are fewer tiles
// than SMs, the blocks of a cluster share the K of one tile and add up their parts in the order of their ranks.
// Many tokens: limited by arithmetic. Two blocks of a cluster hold neighbouring token tiles and load half of their common weights
// each, for both.
namespace gale::cuda {

struct StreamGemmView {
  void* out;                          // [tokens or rows, n], row pitch out_stride
  int64_t out_stride;
  const float *weight_scales, *in_scales;   // of e4m3 operands, else null
  const __nv_bfloat16* bias;          // [size_n] or null
  uint64_t weight_hint;
  int num_tokens, size_n, size_k;     // of each matrix
  int num_row_tiles, num_token_tiles, cluster_size, token_box;
  bool is_f32, is_swiglu;
  bool is_vectorizable;               // bf16 results in whole 16-byte pieces
  int64_t head_in, head_out;          // dense, several matrices: elements from one head's columns to the next's
  // Experts: rows sorted[offsets[e]] … belong to expert e and read input row sorted[i] / rows_per_input.
  const void* in;
  const int32_t *sorted, *offsets;
  int64_t in_stride;
  int num_experts, rows_per_input;
  bool are_offsets_settled;           // written by a kernel before the predecessor
};

template <class Type, int kTiles, int kTokens, int kNumStages, int kBlocks, bool kPairs, bool kGathers>
struct StreamGemmConfig {
  using T = Type;
  static constexpr int kMatrixTiles = kTiles;            // 64-row tiles a warpgroup
  static constexpr int kRows = 128 * kTiles;
  static constexpr int kMaxTokens = kTokens;
  static constexpr int kStages = kNumStages;
  static constexpr int kBlocksPerSm = kBlocks;
  static constexpr bool kMulticast = kPairs;             // cluster of two token tiles (dense only)
  static constexpr int kBlockK = kSwizzledRowBytes / static_cast<int>(sizeof(T));
  static constexpr int kWeightBytes = kRows * kSwizzledRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kSwizzledRowBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024;
  static constexpr int kConsumers = 256;
  // e4m3 products are summed with few bits inside the tensor cores: where registers allow, sums leave them every 128 of K.
  static constexpr bool kPromotes = sizeof(T) == 1 && kTiles * kTokens <= 64;
  static constexpr bool kGather = kGathers;              // tokens of experts
  static constexpr int kProducers = kWarpSize * (!kGather ? 1 : kBlocks == 1 ? 4 : 2);
  static constexpr int kThreads = kConsumers + kProducers;
};

struct GemmTile {
  int weight_row;                     // in all matrices
  int n0;                             // in its matrix
  int first, num_tokens;              // of the tokens, or of the sorted rows
  int64_t first_scale;                // of this matrix's weight_scales
  int64_t out_offset;                 // of this head's results
  int in_column;                      // of this head's tokens
  int k_begin, k_end;                 // in blocks of K
};

template <class C>
struct StreamGemmShared {
  uint64_t full[C::kStages], empty[C::kStages];
  int in_rows[C::kMaxTokens], out_rows[C::kMaxTokens];   // of a gathered tile
  float factors[C::kMaxTokens];       // of e4m3 tokens
  int scan[16];
  int expert, first, num_tokens;
};

__device__ inline int cluster_rank(const StreamGemmView& view) { return blockIdx.x % view.cluster_size; }

// Token tiles go in groups of 16 through all row tiles, so that what a wave of blocks reads stays in L2.
template <class C>
__device__ GemmTile dense_tile(const StreamGemmView& view) {
  constexpr int kGroup = C::kMulticast ? 8 : 16;
  const int num_columns = C::kMulticast ? view.num_token_tiles / 2 : view.num_token_tiles, per_head = num_columns * view.num_row_tiles;
  const int unit = blockIdx.x / view.cluster_size % per_head, head = blockIdx.x / view.cluster_size / per_head;
  const int group = unit / (kGroup * view.num_row_tiles), in_group = unit - group * kGroup * view.num_row_tiles;
  const int width = min(kGroup, num_columns - group * kGroup);
  int column = group * kGroup + in_group % width;
  if (C::kMulticast) column = column * 2 + cluster_rank(view);
  GemmTile tile{};
  tile.n0 = in_group / width * C::kRows;
  tile.weight_row = head * view.size_n + tile.n0;
  tile.in_column = static_cast<int>(head * view.head_in), tile.out_offset = head * view.head_out;
  tile.first = column * C::kMaxTokens;
  tile.num_tokens = min(C::kMaxTokens, view.num_tokens - tile.first);   // may be negative: the odd one of a pair
  return tile;
}

// The expert and rows of tile number blockIdx.x / cluster_size / row tiles, counted over experts in order; none if expert < 0.
template <class C>
__device__ GemmTile expert_tile(const StreamGemmView& view, StreamGemmShared<C>& shared) {
  const int unit = blockIdx.x / view.cluster_size, wanted = unit / view.num_row_tiles;
  const int e = threadIdx.x, lane = e % kWarpSize, warp = e / kWarpSize;
  const int begin = e < view.num_experts ? view.offsets[e] : 0, end = e < view.num_experts ? view.offsets[e + 1] : 0;
  const int own = (end - begin + C::kMaxTokens - 1) / C::kMaxTokens;
  int upto = warp_prefix_sum(own);
  if (lane == kWarpSize - 1) shared.scan[warp] = upto;
  if (e == 0) shared.expert = -1;
  __syncthreads();
  for (int w = 0; w < warp; ++w) upto += shared.scan[w];
  if (upto - own <= wanted && wanted < upto) {
    shared.expert = e;
    shared.first = begin + (wanted - (upto - own)) * C::kMaxTokens;
    shared.num_tokens = min(C::kMaxTokens, end - shared.first);
  }
  __syncthreads();
  GemmTile tile{};
  tile.n0 = unit % view.num_row_tiles * C::kRows;
  tile.first = shared.first, tile.num_tokens = shared.expert < 0 ? -1 : shared.num_tokens;
  tile.first_scale = static_cast<int64_t>(shared.expert) * view.size_n;
  tile.weight_row = static_cast<int>(tile.first_scale) + tile.n0;
  return tile;
}

// --- filling the ring -------------------------------------------------------------------------------------------------------------

template <class C>
__device__ void load_weights(const CUtensorMap& map, const StreamGemmView& view, StreamGemmShared<C>& shared, uint8_t* stages, int stage,
                             const GemmTile& tile, int k) {
  uint8_t* to = stages + stage * C::kStageBytes;
  constexpr int kBoxBytes = 128 * kSwizzledRowBytes;
  if constexpr (C::kMulticast) {
    static_assert(C::kMatrixTiles == 2);
    const int half = cluster_rank(view);
    load_box_into(3, to + half * kBoxBytes, map, k * C::kBlockK, tile.weight_row + half * 128, shared.full[stage], view.weight_hint);
  } else {
#pragma unroll
    for (int box = 0; box < C::kMatrixTiles; ++box)
      load_box(to + box * kBoxBytes, map, k * C::kBlockK, tile.weight_row + box * 128, shared.full[stage], view.weight_hint);
  }
}

// By one thread: weights and tokens through the copy engine.
template <class C>
__device__ void produce_dense(const CUtensorMap& weight_map, const CUtensorMap& in_map, const StreamGemmView& view,
                              StreamGemmShared<C>& shared, uint8_t* stages, const GemmTile& tile) {
  const int num_blocks = tile.k_end - tile.k_begin, num_early = min(C::kStages, num_blocks);
  const int stage_bytes = C::kWeightBytes + view.token_box * kSwizzledRowBytes;
  const auto load_in = [&](int stage, int i) {
    load_box(stages + stage * C::kStageBytes + C::kWeightBytes, in_map, tile.in_column + (tile.k_begin + i) * C::kBlockK, tile.first, shared.full[stage],
             kEvictLast);
  };
  for (int i = 0; i < num_early; ++i) {
    barrier_expect(shared.full[i], stage_bytes);
    load_weights<C>(weight_map, view, shared, stages, i, tile, tile.k_begin + i);
  }
  wait_for_predecessor();
  release_successor();
  for (int i = 0; i < num_early; ++i) load_in(i, i);
  Ring<C> ring;
  for (int i = num_early; i < num_blocks; ++i, ring.next()) {   // a stage is free once its contents of kStages blocks ago are used
    barrier_wait(shared.empty[ring.stage], ring.parity);
    barrier_expect(shared.full[ring.stage], stage_bytes);
    load_weights<C>(weight_map, view, shared, stages, ring.stage, tile, tile.k_begin + i);
    load_in(ring.stage, i);
  }
}

// By all producer warps: weights through the copy engine, rows of tokens gathered 16 bytes a copy into the same swizzle. A stage is
// announced two stages later, when its copies have landed.
template <class C>
__device__ void produce_gathered(const CUtensorMap& weight_map, const StreamGemmView& view, StreamGemmShared<C>& shared, uint8_t* stages,
                                 const GemmTile& tile) {
  using T = typename C::T;
  constexpr int kLag = C::kStages - 2;
  const int num_blocks = tile.k_end - tile.k_begin, num_early = min(C::kStages, num_blocks), thread = threadIdx.x - C::kConsumers;
  const auto request_weights = [&](int stage, int i) {
    barrier_expect(shared.full[stage], C::kWeightBytes);
    load_weights<C>(weight_map, view, shared, stages, stage, tile, tile.k_begin + i);
  };
  if (thread == 0)
    for (int i = 0; i < num_early; ++i) request_weights(i, i);
  wait_for_predecessor();
  if (thread == 0) release_successor();
  const int num_rows = (tile.num_tokens + 7) / 8 * 8;     // what the product reads beyond is not looked at
  const T* in = static_cast<const T*>(view.in);
  Ring<C> ring, landed;
  int freed = 0;
  for (int i = 0; i < num_blocks; ++i, ring.next()) {
    if (i >= C::kStages) {
      barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);
      if (thread == 0) request_weights(ring.stage, i);
    }
    uint8_t* to = stages + ring.stage * C::kStageBytes + C::kWeightBytes;
    const int k = (tile.k_begin + i) * C::kBlockK;
    for (int piece = thread; piece < num_rows * 8; piece += C::kProducers) {
      const int r = piece / 8, chunk = piece % 8, at = k + chunk * (16 / static_cast<int>(sizeof(T)));
      const int valid = r < tile.num_tokens ? max(0, min(16, (view.size_k - at) * static_cast<int>(sizeof(T)))) : 0;
      copy_async_16(to + r * kSwizzledRowBytes + (chunk ^ (r & 7)) * 16, valid > 0 ? in + shared.in_rows[r] * view.in_stride + at : in, valid);
    }
    commit_copies();
    if (i < kLag) continue;
    wait_for_copies<kLag>();
    fence_async_proxy();
    barrier_arrive(shared.full[landed.stage]);
    landed.next(), ++freed;
  }
  wait_for_copies<0>();
  fence_async_proxy();
  for (; freed < num_blocks; ++freed, landed.next()) barrier_arrive(shared.full[landed.stage]);
}

// --- multiplying ------------------------------------------------------------------------------------------------------------------

// Tells the producers that this warp has used the stage.
template <class C>
__device__ void release_stage(const StreamGemmView& view, StreamGemmShared<C>& shared, int stage) {
  const int lane = threadIdx.x % kWarpSize;
  if (lane == 0) barrier_arrive(shared.empty[stage]);
  if (C::kMulticast && lane == 1) barrier_arrive_at(shared.empty[stage], cluster_rank(view) ^ 1);
}

template <class C, int kTokens>
__device__ void multiply(float (&sum)[C::kMatrixTiles][kTokens / 2], const StreamGemmView& view, StreamGemmShared<C>& shared,
                         uint8_t* stages, int num_blocks) {
  using T = typename C::T;
  const int group = own_warpgroup();
  const uint64_t weights = tile_descriptor(stages + group * C::kMatrixTiles * 64 * kSwizzledRowBytes);
  const uint64_t in = tile_descriptor(stages + C::kWeightBytes);
  Ring<C> ring;
  int previous = -1;
  float part[C::kPromotes ? kTokens / 2 : 1];
  if constexpr (C::kPromotes)
    for (float& x : sum[0]) x = 0;
  for (int i = 0; i < num_blocks; ++i, ring.next()) {
    barrier_wait(shared.full[ring.stage], ring.parity);
    const uint64_t a = weights + ring.stage * (C::kStageBytes / 16), b = in + ring.stage * (C::kStageBytes / 16);
    if constexpr (C::kPromotes) {
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) wgmma<T, kTokens>(part, a + k * 2, b + k * 2, k > 0);
      wgmma_commit();
      wgmma_wait<0>();
      pin_registers(part);
      release_stage<C>(view, shared, ring.stage);
#pragma unroll
      for (int e = 0; e < kTokens / 2; ++e) sum[0][e] += part[e];
    } else {
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int m = 0; m < C::kMatrixTiles; ++m)
          wgmma<T, kTokens>(sum[m], a + m * (64 * kSwizzledRowBytes / 16) + k * 2, b + k * 2, i > 0 || k > 0);
      wgmma_commit();
      wgmma_wait<1>();                                     // the block before this one is done
      if (previous >= 0) release_stage<C>(view, shared, previous);
      previous = ring.stage;
    }
  }
  wgmma_wait<0>();
  if (previous >= 0) release_stage<C>(view, shared, previous);
#pragma unroll
  for (int m = 0; m < C::kMatrixTiles; ++m) pin_registers(sum[m]);
}

// --- results ----------------------------------------------------------------------------------------------------------------------

template <class C>
__device__ void consumers_sync() { asm volatile("bar.sync 1, %0;" ::"n"(C::kConsumers) : "memory"); }

// Where in `out` the results of a token begin.
template <class C>
__device__ int64_t out_row(const StreamGemmView& view, const StreamGemmShared<C>& shared, const GemmTile& tile, int token) {
  if constexpr (C::kGather) return shared.out_rows[token] * view.out_stride;
  return (tile.first + token) * view.out_stride + tile.out_offset;
}

// Factors and biases of one weight row; rows beyond the last are never stored.
struct RowFinish { float factor, bias; };
template <class C>
__device__ RowFinish row_finish(const StreamGemmView& view, const GemmTile& tile, int n) {
  if (n >= view.size_n) return {};
  RowFinish row{1.0f, view.bias == nullptr ? 0.0f : to_float(view.bias[n])};
  if constexpr (sizeof(typename C::T) == 1) row.factor = view.weight_scales[tile.first_scale + n];
  return row;
}

// What follows the sum over K, for rows n and n + 8 by tokens t and t + 1: the values to store, in the order of the sums. SwiGLU
// (gate and up rows lie 8 apart: packing.cuh) leaves its two values in x and y.
template <class C>
__device__ float4 finished(const StreamGemmView& view, const StreamGemmShared<C>& shared, RowFinish low, RowFinish high, int token, float4 x) {
  if constexpr (sizeof(typename C::T) == 1) {
    const float first = shared.factors[token], second = shared.factors[token + 1];
    x = {x.x * low.factor * first, x.y * low.factor * second, x.z * high.factor * first, x.w * high.factor * second};
  }
  if (view.is_swiglu) return {silu(x.x) * x.z, silu(x.y) * x.w, 0, 0};
  return {x.x + low.bias, x.y + low.bias, x.z + high.bias, x.w + high.bias};
}

template <class T>
__device__ void store_value(const StreamGemmView& view, int64_t row_begin, int column, int num_columns, float value) {
  if (column < num_columns) static_cast<T*>(view.out)[row_begin + column] = from_float<T>(value);
}

// Finished values of rows n and n + 8 by tokens t and t + 1 straight to memory.
template <class C>
__device__ void store_unit(const StreamGemmView& view, const StreamGemmShared<C>& shared, const GemmTile& tile, int n, int token, float4 x) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (token + j >= tile.num_tokens) return;
    const int64_t row = out_row<C>(view, shared, tile, token + j);
    const float low = j == 0 ? x.x : x.y, high = j == 0 ? x.z : x.w;
    if (view.is_swiglu) {
      store_value<__nv_bfloat16>(view, row, n / 16 * 8 + n % 8, view.size_n / 2, low);
    } else if (view.is_f32) {
      store_value<float>(view, row, n, view.size_n, low);
      store_value<float>(view, row, n + 8, view.size_n, high);
    } else {
      store_value<__nv_bfloat16>(view, row, n, view.size_n, low);
      store_value<__nv_bfloat16>(view, row, n + 8, view.size_n, high);
    }
  }
}

__device__ inline uint32_t pack_pair(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Four 8 x 8 fragments, transposed: lane l gives where column l % 8 of fragment l / 8 goes.
__device__ inline void store_transposed(void* to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)), "r"(a), "r"(b), "r"(c),
               "r"(d) : "memory");
}

// The whole tile through shared memory, token by token, so that memory sees rows of 16-byte pieces.
template <class C, int kTokens>
__device__ void store_tile_by_rows(const StreamGemmView& view, const StreamGemmShared<C>& shared, uint8_t* staging, const GemmTile& tile,
                                   const float (&sum)[C::kMatrixTiles][kTokens / 2]) {
  constexpr int kPitch = C::kRows * 2 + 16;                 // bytes; the 16 spread the rows over the banks
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup();
#pragma unroll
  for (int m = 0; m < C::kMatrixTiles; ++m) {
    const int base = (group * C::kMatrixTiles + m) * 64 + warp * 16, n = tile.n0 + base + lane / 4;
    const RowFinish low = row_finish<C>(view, tile, n), high = row_finish<C>(view, tile, n + 8);
    const auto unit = [&](int u) {
      return finished<C>(view, shared, low, high, u * 8 + lane % 4 * 2, {sum[m][u * 4], sum[m][u * 4 + 1], sum[m][u * 4 + 2], sum[m][u * 4 + 3]});
    };
    if (view.is_swiglu) {
#pragma unroll
      for (int u = 0; u < kTokens / 8; u += 4) {
        const float4 a = unit(u), b = unit(u + 1), c = unit(u + 2), d = unit(u + 3);
        store_transposed(staging + (u * 8 + lane) * kPitch + base, pack_pair(a.x, a.y), pack_pair(b.x, b.y), pack_pair(c.x, c.y), pack_pair(d.x, d.y));
      }
    } else {
#pragma unroll
      for (int u = 0; u < kTokens / 8; u += 2) {
        const float4 a = unit(u), b = unit(u + 1);
        const int token = (u + lane / 16) * 8 + lane % 8, column = base + lane / 8 % 2 * 8;
        store_transposed(staging + token * kPitch + column * 2, pack_pair(a.x, a.y), pack_pair(a.z, a.w), pack_pair(b.x, b.y), pack_pair(b.z, b.w));
      }
    }
  }
  consumers_sync<C>();
  const int divisor = view.is_swiglu ? 2 : 1, first = tile.n0 / divisor, num_columns = min(C::kRows, view.size_n - tile.n0) / divisor;
  const int pieces = C::kRows / divisor / 8;                // of a token
  for (int i = threadIdx.x; i < tile.num_tokens * pieces; i += C::kConsumers) {
    const int token = i / pieces, column = i % pieces * 8;
    if (column >= num_columns) continue;
    *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(view.out) + out_row<C>(view, shared, tile, token) + first + column) =
        *reinterpret_cast<const uint4*>(staging + token * kPitch + column * 2);
  }
}

// A cluster's parts of one tile: all of them in shared memory that no copy writes any more, and each block adds up its share.
template <class C, int kTokens>
__device__ void store_shares(const StreamGemmView& view, const StreamGemmShared<C>& shared, uint8_t* stages, const GemmTile& tile,
                             const float (&sum)[C::kMatrixTiles][kTokens / 2], int n0, int token0) {
  constexpr int kUnits = kTokens / 8;
  auto* parts = reinterpret_cast<float4*>(stages);
#pragma unroll
  for (int m = 0; m < C::kMatrixTiles; ++m)
#pragma unroll
    for (int u = 0; u < kUnits; ++u)
      parts[(m * kUnits + u) * C::kConsumers + threadIdx.x] = {sum[m][u * 4], sum[m][u * 4 + 1], sum[m][u * 4 + 2], sum[m][u * 4 + 3]};
  cluster_sync();
  for (int unit = cluster_rank(view); unit < C::kMatrixTiles * kUnits; unit += view.cluster_size) {
    float4 total{};
    for (int rank = 0; rank < view.cluster_size; ++rank) {
      const float4 part = load_from_block(parts + unit * C::kConsumers + threadIdx.x, rank);
      total.x += part.x, total.y += part.y, total.z += part.z, total.w += part.w;
    }
    const int n = n0 + unit / kUnits * 64, token = token0 + unit % kUnits * 8;
    const RowFinish low = row_finish<C>(view, tile, n), high = row_finish<C>(view, tile, n + 8);
    store_unit<C>(view, shared, tile, n, token, finished<C>(view, shared, low, high, token, total));
  }
}

template <class C, int kTokens>
__device__ void consume(const StreamGemmView& view, StreamGemmShared<C>& shared, uint8_t* stages, const GemmTile& tile) {
  float sum[C::kMatrixTiles][kTokens / 2];
  multiply<C, kTokens>(sum, view, shared, stages, tile.k_end - tile.k_begin);
  wait_for_predecessor();                                   // it has: makes the factors it wrote visible here
  if constexpr (sizeof(typename C::T) == 1) {
    for (int t = threadIdx.x; t < tile.num_tokens; t += C::kConsumers)
      shared.factors[t] = view.in_scales[C::kGather ? shared.in_rows[t] : tile.first + t];
  }
  consumers_sync<C>();                                      // also: both groups have read all stages
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup();
  const int n0 = tile.n0 + group * C::kMatrixTiles * 64 + warp * 16 + lane / 4, token0 = lane % 4 * 2;
  if (!C::kMulticast && view.cluster_size > 1) return store_shares<C, kTokens>(view, shared, stages, tile, sum, n0, token0);
  if constexpr (kTokens >= 64)
    if (view.is_vectorizable) return store_tile_by_rows<C, kTokens>(view, shared, stages, tile, sum);
#pragma unroll
  for (int m = 0; m < C::kMatrixTiles; ++m) {
    const int n = n0 + m * 64;
    const RowFinish low = row_finish<C>(view, tile, n), high = row_finish<C>(view, tile, n + 8);
#pragma unroll
    for (int u = 0; u < kTokens / 8; ++u) {
      const int token = token0 + u * 8;
      const float4 x{sum[m][u * 4], sum[m][u * 4 + 1], sum[m][u * 4 + 2], sum[m][u * 4 + 3]};
      store_unit<C>(view, shared, tile, n, token, finished<C>(view, shared, low, high, token, x));
    }
  }
}

// With the narrowest product that holds the tile's tokens.
template <class C>
__device__ void consume_any(const StreamGemmView& view, StreamGemmShared<C>& shared, uint8_t* stages, const GemmTile& tile) {
  if constexpr (C::kMaxTokens <= 64)
    if (tile.num_tokens <= 8) return consume<C, 8>(view, shared, stages, tile);
  if constexpr (C::kMaxTokens == 64) {
    if (tile.num_tokens <= 16) return consume<C, 16>(view, shared, stages, tile);
    if (tile.num_tokens <= 32) return consume<C, 32>(view, shared, stages, tile);
  } else if constexpr (C::kMaxTokens > 64) {
    if (tile.num_tokens <= 64) return consume<C, 64>(view, shared, stages, tile);
  }
  consume<C, C::kMaxTokens>(view, shared, stages, tile);
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kBlocksPerSm)
    stream_gemm_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap in_map,
                       const __grid_constant__ StreamGemmView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ StreamGemmShared<C> shared;
  uint8_t* stages = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  if (threadIdx.x == 0) {
    prefetch_map(weight_map);
    if constexpr (!C::kGather) prefetch_map(in_map);
    for (int s = 0; s < C::kStages; ++s) {
      barrier_init(shared.full[s], C::kGather ? 1 + C::kProducers : 1);
      barrier_init(shared.empty[s], C::kConsumers / kWarpSize * (C::kMulticast ? 2 : 1));
    }
    fence_barrier_init();
  }
  GemmTile tile;
  if constexpr (C::kGather) {
    if (!view.are_offsets_settled) wait_for_predecessor();
    tile = expert_tile<C>(view, shared);
    if (tile.num_tokens < 0) return;
    for (int r = threadIdx.x; r < tile.num_tokens; r += C::kThreads) {
      shared.out_rows[r] = view.sorted[tile.first + r];
      shared.in_rows[r] = shared.out_rows[r] / view.rows_per_input;
    }
  } else {
    tile = dense_tile<C>(view);
  }
  const int num_blocks = (view.size_k + C::kBlockK - 1) / C::kBlockK;
  const int num_shares = C::kMulticast ? 1 : view.cluster_size, share = C::kMulticast ? 0 : cluster_rank(view);
  tile.k_begin = num_blocks * share / num_shares, tile.k_end = num_blocks * (share + 1) / num_shares;
  if (view.cluster_size > 1) cluster_sync(); else __syncthreads();
  if (threadIdx.x < C::kConsumers) {
    consume_any<C>(view, shared, stages, tile);
  } else {
    if constexpr (C::kGather) {
      produce_gathered<C>(weight_map, view, shared, stages, tile);
    } else if (threadIdx.x == C::kConsumers) {
      produce_dense<C>(weight_map, in_map, view, shared, stages, tile);
    }
    __syncwarp();
    if (!C::kMulticast && view.cluster_size > 1) cluster_sync();
  }
  if (view.cluster_size > 1) cluster_sync();                // nobody leaves while others use its shared memory
}

}  // namespace gale::cuda
