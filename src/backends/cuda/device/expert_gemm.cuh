#pragma once

#include "backends/cuda/device/fragments.cuh"
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma_between.cuh"

// Products of experts that have many tokens, of sm_90a: out[row, n] = sum_k weight[expert, n, k] * in[row /
// rows_per_input, k], bf16 or e4m3, fp32 accumulation. One block an SM works through the tiles of all experts; a tile
// is 256 weight rows by up to kMaxTokens rows of one expert, whose rows are shared out evenly so that few columns of
// a product are empty. Four warps fill a ring of stages, 128 bytes of K each: weights by the copy engine, tokens
// gathered by index; they run on into the next tile while two warpgroups finish this one. Two blocks go in step:
// through neighbouring token tiles of an expert that has several, where each loads half of their common weights for
// both, or through neighbouring rows of weights. Limited by arithmetic at many tokens, by the bytes of the weights at
// few.
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
  static constexpr int kPitch =
      128 * 2 + 16;  // bytes of a token's results of a warpgroup; the 16 spread rows over the banks
  static constexpr int kStagingBytes = kRound * kPitch;      // two for each warpgroup
  static constexpr int kSharedBytes = kStages * kStageBytes + 4 * kStagingBytes + 1024;
  static constexpr int kMaxExperts = 256;
};

template <class C>
struct ExpertGemmShared {
  uint64_t full[C::kStages], empty[C::kStages];
  uint64_t known[2];                        // rows and factors
  int rows[2][C::kMaxTokens];               // of the tile that is multiplied and the one that is loaded
  float factors[2][C::kMaxTokens];          // of e4m3 tokens
  int first_unit[C::kMaxExperts + 1], first_row[C::kMaxExperts + 1];   // pairs of tiles, sorted rows
  int scan[16];
};

// No tokens: the odd one of a pair.
struct ExpertTile { int weight_row, n0, first, num_tokens; bool shares_weights; };

__device__ inline int pair_rank() { return blockIdx.x % 2; }

// Pairs of token tiles of an expert with several.
template <class C>
__device__ int token_pairs(int num_rows) { return (num_rows + 2 * C::kMaxTokens - 1) / (2 * C::kMaxTokens); }

// Goes through the tiles of this block in order: all row tiles of an expert, each with all of its token tiles.
template <class C>
struct TileWalk {
  int unit = blockIdx.x / 2, expert = 0;

  __device__ bool next(const ExpertGemmView& view, const ExpertGemmShared<C>& shared, ExpertTile& tile) {
    while (expert < view.num_experts && unit >= shared.first_unit[expert + 1]) ++expert;
    if (expert >= view.num_experts) return false;
    const int in_expert = unit - shared.first_unit[expert], first = shared.first_row[expert],
              num_rows = shared.first_row[expert + 1] - first;
    tile.shares_weights = num_rows > C::kMaxTokens;
    if (tile.shares_weights) {
      const int num_pairs = token_pairs<C>(num_rows), column = in_expert % num_pairs * 2 + pair_rank();
      const int share = ((num_rows + 2 * num_pairs - 1) / (2 * num_pairs) + 7) / 8 * 8;
      tile.n0 = in_expert / num_pairs * C::kRows;
      tile.first = first + column * share, tile.num_tokens = max(0, min(share, num_rows - column * share));
    } else {
      tile.n0 = (in_expert * 2 + pair_rank()) * C::kRows;
      tile.first = first, tile.num_tokens = tile.n0 < view.size_n ? num_rows : 0;
    }
    tile.weight_row = expert * view.size_n + tile.n0;
    unit += gridDim.x / 2;
    return true;
  }
};

// Where the units of each expert begin; by all threads.
template <class C>
__device__ void count_units(const ExpertGemmView& view, ExpertGemmShared<C>& shared) {
  const int e = threadIdx.x, lane = e % kWarpSize, warp = e / kWarpSize;
  const int begin = e < view.num_experts ? view.offsets[e] : 0, end = e < view.num_experts ? view.offsets[e + 1] : 0,
            num_rows = end - begin;
  int upto = num_rows == 0              ? 0
             : num_rows > C::kMaxTokens ? token_pairs<C>(num_rows) * view.num_row_tiles
                                        : (view.num_row_tiles + 1) / 2;
  upto = warp_prefix_sum(upto);
  if (lane == kWarpSize - 1) shared.scan[warp] = upto;
  __syncthreads();
  for (int w = 0; w < warp; ++w) upto += shared.scan[w];
  if (e < view.num_experts) shared.first_unit[e + 1] = upto, shared.first_row[e] = begin;
  if (e == view.num_experts - 1) shared.first_row[view.num_experts] = end;
  if (e == 0) shared.first_unit[0] = 0;
}

template <class C>
struct TileRing {
  int stage = 0, parity = 0;
  __device__ void next() {
    if (++stage == C::kStages) stage = 0, parity ^= 1;
  }
};

// An arrival once this thread's copies so far have landed.
__device__ inline void arrive_after_copies(uint64_t& barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(&barrier)) : "memory");
}

// --- filling the ring ------------------------------------------------------------------------------------

// By one thread: this block's part of a stage's weights, and how many bytes of them will come.
template <class C>
__device__ void request_weights(const CUtensorMap& map, ExpertGemmShared<C>& shared, uint8_t* to, int stage,
                                const ExpertTile& tile, int k) {
  constexpr int kBoxBytes = 128 * kSwizzledRowBytes;
  if (!tile.shares_weights && tile.num_tokens == 0) return barrier_arrive(shared.full[stage]);
  barrier_expect(shared.full[stage], C::kWeightBytes);
  if (tile.shares_weights) {
    const int half = pair_rank();
    load_box_into(3, to + half * kBoxBytes, map, k, tile.weight_row + half * 128, shared.full[stage], kEvictNormal);
    return;
  }
#pragma unroll
  for (int box = 0; box < 2; ++box)
    load_box(to + box * kBoxBytes, map, k, tile.weight_row + box * 128, shared.full[stage], kEvictFirst);
}

// The rows of a tile that a producer thread gathers: first, first + kStep, …; -1 behind the last.
template <class C>
struct GatheredRows {
  static constexpr int kStep = C::kProducers / 8, kItems = (C::kMaxTokens + kStep - 1) / kStep;
  int sorted[kItems];

  __device__ void load(const ExpertGemmView& view, const ExpertTile& tile, int first) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int r = first + item * kStep;
      sorted[item] = r < tile.num_tokens ? view.sorted[tile.first + r] : -1;
    }
  }
};

template <class C>
__device__ void produce_tiles(const CUtensorMap& weight_map, const ExpertGemmView& view, ExpertGemmShared<C>& shared,
                              uint8_t* stages) {
  using T = typename C::T;
  using Rows = GatheredRows<C>;
  const int thread = threadIdx.x - C::kConsumers, chunk = thread % 8, first = thread / 8;
  const int num_blocks = (view.size_k + C::kBlockK - 1) / C::kBlockK;
  const T* in = static_cast<const T*>(view.in);
  TileWalk<C> walk;
  TileRing<C> ring;
  ExpertTile tile, next_tile;
  Rows next_rows;
  bool has_next = walk.next(view, shared, next_tile);
  if (has_next) next_rows.load(view, next_tile, first);
  bool is_full = false;                                      // the ring: stages have to be waited for
  for (int buffer = 0; has_next; buffer ^= 1) {
    tile = next_tile;
    int row[Rows::kItems];
    float factor[2] = {};  // this thread's of the tile: of rows item with item % 8 == chunk
#pragma unroll
    for (int item = 0; item < Rows::kItems; ++item) {
      const int sorted = next_rows.sorted[item];
      row[item] = sorted < 0 ? -1 : sorted / view.rows_per_input;
      if (sizeof(T) == 1 && item % 8 == chunk && sorted >= 0) factor[item / 8] = view.in_scales[row[item]];
    }
    const int num_rows = (tile.num_tokens + 7) / 8 * 8;      // what the product reads beyond is not looked at
    for (int i = 0; i < num_blocks; ++i, ring.next()) {
      if (is_full) barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);
      if (i == 1) {
        // With kMinBlocks of K nobody is at the tile before the last one.
#pragma unroll
        for (int item = 0; item < Rows::kItems; ++item) {
          if (item % 8 != chunk || row[item] < 0) continue;
          shared.rows[buffer][first + item * Rows::kStep] = next_rows.sorted[item];
          if (sizeof(T) == 1) shared.factors[buffer][first + item * Rows::kStep] = factor[item / 8];
        }
        barrier_arrive(shared.known[buffer]);
      }
      if (i == 2) {                                          // long before they are needed
        has_next = walk.next(view, shared, next_tile);
        if (has_next) next_rows.load(view, next_tile, first);
      }
      uint8_t* to = stages + ring.stage * C::kStageBytes;
      if (thread == 0) request_weights<C>(weight_map, shared, to, ring.stage, tile, i * C::kBlockK);
      const int at = i * C::kBlockK + chunk * (16 / static_cast<int>(sizeof(T)));
      const int valid = max(0, min(16, (view.size_k - at) * static_cast<int>(sizeof(T))));
      to += C::kWeightBytes + first * kSwizzledRowBytes + (chunk ^ (first & 7)) * 16;
#pragma unroll
      for (int item = 0; item < Rows::kItems; ++item) {
        if (first + item * Rows::kStep >= num_rows) break;
        const bool is_row = row[item] >= 0 && valid > 0;
        copy_async_16(to + item * Rows::kStep * kSwizzledRowBytes, is_row ? in + row[item] * view.in_stride + at : in,
                      is_row ? valid : 0);
      }
      arrive_after_copies(shared.full[ring.stage]);
      is_full |= ring.stage == C::kStages - 1;
    }
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// --- multiplying -----------------------------------------------------------------------------------------

// Tells the producers of both blocks that this warp has used the stage.
template <class C>
__device__ void release_stage(ExpertGemmShared<C>& shared, int stage) {
  const int lane = threadIdx.x % kWarpSize;
  if (lane == 0) barrier_arrive(shared.empty[stage]);
  if (lane == 1) barrier_arrive_at(shared.empty[stage], pair_rank() ^ 1);
}

template <class C, int kTokens>
__device__ void multiply_tile(float (&sum)[2][kTokens / 2], ExpertGemmShared<C>& shared, uint8_t* stages,
                              TileRing<C>& ring, int num_blocks) {
  const int group = own_warpgroup();
  const uint64_t weights = tile_descriptor(stages + group * 128 * kSwizzledRowBytes),
                 tokens = tile_descriptor(stages + C::kWeightBytes);
  int previous = -1;
  for (int i = 0; i < num_blocks; ++i, ring.next()) {
    barrier_wait(shared.full[ring.stage], ring.parity);
    fence_async_proxy();                                     // the tokens were written by ordinary copies
    const uint64_t a = weights + ring.stage * (C::kStageBytes / 16), b = tokens + ring.stage * (C::kStageBytes / 16);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int m = 0; m < 2; ++m)
        wgmma_between<typename C::T, kTokens>(sum[m], a + m * (64 * kSwizzledRowBytes / 16) + k * 2, b + k * 2, true);
    wgmma_commit();
    wgmma_wait<1>();                                         // the block before this one is done
    if (previous >= 0) release_stage<C>(shared, previous);
    previous = ring.stage;
  }
  wgmma_wait<0>();
  release_stage<C>(shared, previous);
  pin_registers(sum[0]), pin_registers(sum[1]);
}

// The finished tile to memory, kRound tokens at a time through this warpgroup's two staging buffers, so that memory
// sees rows of 16-byte pieces. factor[m][h]: of weight rows m * 64 + h * 8.
template <class C, int kTokens>
__device__ void store_results(const ExpertGemmView& view, const ExpertGemmShared<C>& shared, int buffer,
                              uint8_t* staging, const ExpertTile& tile, const float (&sum)[2][kTokens / 2],
                              const float (&factor)[2][2]) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup(),
            thread = threadIdx.x % 128;
  const int divisor = view.is_swiglu ? 2 : 1, first = (tile.n0 + group * 128) / divisor,
            num_columns = view.size_n / divisor;
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
      store_fragments(to + token * C::kPitch + column * 2, packed(0, round * 2), packed(0, round * 2 + 1),
                      packed(1, round * 2), packed(1, round * 2 + 1));
    } else {
      const int token = lane / 16 * 8 + lane % 8;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const float4 a = unit(m, round * 2), b = unit(m, round * 2 + 1);
        store_fragments(to + token * C::kPitch + (m * 64 + warp * 16 + lane / 8 % 2 * 8) * 2, pack_bf16(a.x, a.y),
                        pack_bf16(a.z, a.w), pack_bf16(b.x, b.y), pack_bf16(b.z, b.w));
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

// number: of the tile, among this block's.
template <class C, int kTokens>
__device__ void consume_tile(const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages,
                             TileRing<C>& ring, int number, const ExpertTile& tile) {
  const int buffer = number % 2;
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup();
  float factor[2][2]{};
  if constexpr (sizeof(typename C::T) == 1) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = tile.n0 + (group * 2 + m) * 64 + warp * 16 + lane / 4 + h * 8;
        if (n < view.size_n) factor[m][h] = view.weight_scales[tile.weight_row - tile.n0 + n];
      }
  }
  float sum[2][kTokens / 2]{};  // set, or it would live on through the products of other widths
  multiply_tile<C, kTokens>(sum, shared, stages, ring, (view.size_k + C::kBlockK - 1) / C::kBlockK);
  barrier_wait(shared.known[buffer], number / 2 % 2);
  store_results<C, kTokens>(view, shared, buffer, stages + C::kStages * C::kStageBytes, tile, sum, factor);
}

// With the narrowest product that holds the tile's tokens.
template <class C>
__device__ void consume_tiles(const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages) {
  TileWalk<C> walk;
  TileRing<C> ring;
  ExpertTile tile;
  const int num_blocks = (view.size_k + C::kBlockK - 1) / C::kBlockK;
  for (int number = 0; walk.next(view, shared, tile); ++number) {
    if (tile.num_tokens == 0) {
      for (int i = 0; i < num_blocks; ++i, ring.next()) {
        barrier_wait(shared.full[ring.stage], ring.parity);
        __syncwarp();
        release_stage<C>(shared, ring.stage);
      }
      continue;
    }
    switch (max(4, (tile.num_tokens + 15) / 16)) {
      case 4: consume_tile<C, 64>(view, shared, stages, ring, number, tile); break;
      case 5: consume_tile<C, 80>(view, shared, stages, ring, number, tile); break;
      case 6: consume_tile<C, 96>(view, shared, stages, ring, number, tile); break;
      case 7: consume_tile<C, 112>(view, shared, stages, ring, number, tile); break;
      case 8: consume_tile<C, 128>(view, shared, stages, ring, number, tile); break;
      case 9: consume_tile<C, 144>(view, shared, stages, ring, number, tile); break;
      default: consume_tile<C, 152>(view, shared, stages, ring, number, tile); break;
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
      barrier_init(shared.empty[s], 2 * C::kConsumers / kWarpSize);
    }
    for (uint64_t& barrier : shared.known) barrier_init(barrier, C::kProducers);
    fence_barrier_init();
  }
  wait_for_predecessor();
  if (threadIdx.x == 0) release_successor();
  count_units<C>(view, shared);
  cluster_sync();
  if (threadIdx.x < C::kConsumers) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 216;");
    consume_tiles<C>(view, shared, stages);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 72;");
    produce_tiles<C>(weight_map, view, shared, stages);
  }
  cluster_sync();  // nobody leaves while the other block tells it what is free
}

}  // namespace gale::cuda
