#pragma once

#include "backends/cuda/device/fragments.cuh"
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma_between.cuh"

// Products of experts that have many tokens, of sm_90a: out[sorted[p], n] = sum_k weight[expert of p, n, k] * in[p, k],
// bf16 or e4m3, fp32 accumulation. One block an SM works through the tiles of all experts; a tile is 256 weight rows by
// up to kMaxTokens rows of one expert, whose rows are shared out evenly so that few columns of a product are empty.
// Tokens lie in the order of their experts, where another kernel laid them: a warp asks the copy engine for a ring of
// stages, 128 bytes of K each, and goes on into the next tile while two warpgroups finish this one. Two blocks go in
// step: through neighbouring token tiles of an expert that has several, where each loads half of their common weights
// for both, or through neighbouring rows of weights, where each loads half of their common tokens. Limited by
// arithmetic at many tokens, by the bytes of the weights at few.
namespace gale::cuda {

struct ExpertGemmView {
  __nv_bfloat16* out;                       // row pitch out_stride, whole 16-byte pieces
  int64_t out_stride;
  const float *weight_scales, *in_scales;   // of e4m3 operands, else null
  const int32_t *sorted, *offsets;          // rows offsets[e] … of `in` belong to expert e
  int size_n, size_k, num_row_tiles, num_experts;
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
  static constexpr int kConsumers = 256, kThreads = kConsumers + 128;   // registers move between whole warpgroups
  static constexpr int kWarpRows = 32, kRound = 16;          // weight rows of a warp; tokens it stores at once
  static constexpr int kStagingBytes = kRound * kWarpRows * 2;   // two for each warp
  static constexpr int kSharedBytes = kStages * kStageBytes + 2 * kConsumers / kWarpSize * kStagingBytes + 1024;
  static constexpr int kMaxExperts = 256;
  static constexpr int kTokenBox = 8, kTokenBoxBytes = kTokenBox * kSwizzledRowBytes;
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
struct ExpertTile { int weight_row, n0, first, num_tokens; bool shares_weights, shares_tokens; };

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
      tile.shares_tokens = false;
    } else {
      tile.n0 = (in_expert * 2 + pair_rank()) * C::kRows;
      tile.first = first, tile.num_tokens = tile.n0 < view.size_n ? num_rows : 0;
      tile.shares_tokens = (in_expert * 2 + 1) * C::kRows < view.size_n;
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

// --- filling the ring ------------------------------------------------------------------------------------

// By one thread: this block's part of a stage's weights, and how many bytes of them and of tokens will come.
template <class C>
__device__ void request_weights(const CUtensorMap& map, ExpertGemmShared<C>& shared, uint8_t* to, int stage,
                                const ExpertTile& tile, int k, int token_bytes) {
  constexpr int kBoxBytes = 128 * kSwizzledRowBytes;
  if (!tile.shares_weights && tile.num_tokens == 0) return barrier_arrive(shared.full[stage]);
  barrier_expect(shared.full[stage], C::kWeightBytes + token_bytes);
  if (tile.shares_weights) {
    const int half = pair_rank();
    load_box_into(3, to + half * kBoxBytes, map, k, tile.weight_row + half * 128, shared.full[stage], kEvictNormal);
    return;
  }
#pragma unroll
  for (int box = 0; box < 2; ++box)
    load_box(to + box * kBoxBytes, map, k, tile.weight_row + box * 128, shared.full[stage], kEvictFirst);
}

// Fills the ring through all tiles of this block; by one warp.
template <class C>
__device__ void produce_tiles(const CUtensorMap& weight_map, const CUtensorMap& token_map, const ExpertGemmView& view,
                              ExpertGemmShared<C>& shared, uint8_t* stages) {
  constexpr int kItems = (C::kMaxTokens + kWarpSize - 1) / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  const int num_blocks = (view.size_k + C::kBlockK - 1) / C::kBlockK;
  TileWalk<C> walk;
  Ring<C> ring;
  ExpertTile tile;
  bool is_full = false;                                      // the ring: stages have to be waited for
  for (int buffer = 0; walk.next(view, shared, tile); buffer ^= 1) {
    int row[kItems];
    float factor[kItems] = {};
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int r = item * kWarpSize + lane;
      row[item] = r < tile.num_tokens ? view.sorted[tile.first + r] : 0;
      if (sizeof(typename C::T) == 1 && r < tile.num_tokens) factor[item] = view.in_scales[tile.first + r];
    }
    const int num_boxes = (tile.num_tokens + C::kTokenBox - 1) / C::kTokenBox;
    for (int i = 0; i < num_blocks; ++i, ring.next()) {
      if (is_full) barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);   // in both blocks
      if (i == 1) {
        // With kMinBlocks of K nobody is at the tile before the last one.
#pragma unroll
        for (int item = 0; item < kItems; ++item) {
          const int r = item * kWarpSize + lane;
          if (r >= C::kMaxTokens) continue;
          shared.rows[buffer][r] = row[item];
          if (sizeof(typename C::T) == 1) shared.factors[buffer][r] = factor[item];
        }
        barrier_arrive(shared.known[buffer]);
      }
      uint8_t* to = stages + ring.stage * C::kStageBytes;
      const int k = i * C::kBlockK;
      if (lane == 0) {
        request_weights<C>(weight_map, shared, to, ring.stage, tile, k, num_boxes * C::kTokenBoxBytes);
      }
      __syncwarp();
      if (lane < num_boxes) {
        uint8_t* box = to + C::kWeightBytes + lane * C::kTokenBoxBytes;
        const int first = tile.first + lane * C::kTokenBox;
        if (!tile.shares_tokens) {
          load_box(box, token_map, k, first, shared.full[ring.stage], kEvictNormal);
        } else if (lane % 2 == pair_rank()) {
          load_box_into(3, box, token_map, k, first, shared.full[ring.stage], kEvictNormal);
        }
      }
      is_full |= ring.stage == C::kStages - 1;
    }
  }
}

// --- multiplying -----------------------------------------------------------------------------------------

// Tells the producers of both blocks that this warp has used the stage.
template <class C>
__device__ void release_stage(ExpertGemmShared<C>& shared, int stage) {
  const int lane = threadIdx.x % kWarpSize;
  if (lane == 0) barrier_arrive(shared.empty[stage]);
  if (lane == 1) barrier_arrive_at(shared.empty[stage], pair_rank() ^ 1);
}

// Product m takes every other eight of the group's weight rows, so that a warp has kWarpRows neighbours in both:
// sum[m][4 * u + 2 * h + e] is of its row 16 * h + 8 * m + lane / 4 and token 8 * u + lane % 4 * 2 + e.
template <class C, int kTokens>
__device__ void multiply_tile(float (&sum)[2][kTokens / 2], ExpertGemmShared<C>& shared, uint8_t* stages,
                              Ring<C>& ring, int num_blocks) {
  const int group = own_warpgroup();
  constexpr int kEightRows = 8 * kSwizzledRowBytes;
  const uint64_t weights =
      tile_descriptor<kSwizzledRowBytes, 2 * kEightRows>(stages + group * 128 * kSwizzledRowBytes);
  const uint64_t tokens = tile_descriptor(stages + C::kWeightBytes);
  int previous = -1;
  for (int i = 0; i < num_blocks; ++i, ring.next()) {
    barrier_wait(shared.full[ring.stage], ring.parity);
    const uint64_t a = weights + ring.stage * (C::kStageBytes / 16), b = tokens + ring.stage * (C::kStageBytes / 16);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int m = 0; m < 2; ++m)
        wgmma_between<typename C::T, kTokens>(sum[m], a + m * (kEightRows / 16) + k * 2, b + k * 2, true);
    wgmma_commit();
    wgmma_wait<1>();                                         // the block before this one is done
    if (previous >= 0) release_stage<C>(shared, previous);
    previous = ring.stage;
  }
  wgmma_wait<0>();
  release_stage<C>(shared, previous);
  pin_registers(sum[0]), pin_registers(sum[1]);
}

// The finished tile to memory, kRound tokens at a time through this warp's staging, so that memory sees whole sectors.
// factor[m][h]: of weight rows as in multiply_tile.
template <class C, int kTokens, bool kIsSwiglu>
__device__ void store_results(const ExpertGemmView& view, const ExpertGemmShared<C>& shared, int buffer,
                              uint8_t* staging, const ExpertTile& tile, const float (&sum)[2][kTokens / 2],
                              const float (&factor)[2][2]) {
  constexpr int kDivisor = kIsSwiglu ? 2 : 1, kPieces = C::kWarpRows / kDivisor / 8;   // of 16 bytes, of a token
  const int lane = threadIdx.x % kWarpSize, warp = own_warpgroup() * 4 + threadIdx.x / kWarpSize % 4;
  const int first = (tile.n0 + warp * C::kWarpRows) / kDivisor, num_columns = view.size_n / kDivisor;
  const auto place = [](int token, int piece) {              // neighbours in different banks
    return (token * kPieces + (piece ^ (token / (8 / kPieces) % kPieces))) * 16;
  };
#pragma unroll
  for (int round = 0; round < (kTokens + C::kRound - 1) / C::kRound; ++round) {
    if (round * C::kRound >= tile.num_tokens) break;
    uint8_t* to = staging + (warp * 2 + round % 2) * C::kStagingBytes;
    const auto values = [&](int m, int h, int u) -> float2 { // of a weight row and two tokens
      if (u * 8 >= kTokens) return {};
      const float* x = &sum[m][u * 4 + h * 2];
      if constexpr (sizeof(typename C::T) > 1) return {x[0], x[1]};
      const float2 of_tokens = *reinterpret_cast<const float2*>(&shared.factors[buffer][u * 8 + lane % 4 * 2]);
      return {x[0] * factor[m][h] * of_tokens.x, x[1] * factor[m][h] * of_tokens.y};
    };
    const int stored_token = lane / 8 % 2 * 8 + lane % 8, second = lane / 16;
    if constexpr (kIsSwiglu) {                               // gate and up rows lie 8 apart: packing.cuh
      const auto packed = [&](int h, int u) {
        const float2 gate = values(0, h, u), up = values(1, h, u);
        return pack_bf16(silu(gate.x) * up.x, silu(gate.y) * up.y);
      };
      store_fragments(to + place(stored_token, second), packed(0, round * 2), packed(0, round * 2 + 1),
                      packed(1, round * 2), packed(1, round * 2 + 1));
    } else {
      const auto packed = [&](int m, int h, int u) {
        const float2 x = values(m, h, u);
        return pack_bf16(x.x, x.y);
      };
#pragma unroll
      for (int h = 0; h < 2; ++h)
        store_fragments(to + place(stored_token, h * 2 + second), packed(0, h, round * 2), packed(0, h, round * 2 + 1),
                        packed(1, h, round * 2), packed(1, h, round * 2 + 1));
    }
    __syncwarp();
#pragma unroll
    for (int item = 0; item < C::kRound * kPieces / kWarpSize; ++item) {
      const int i = item * kWarpSize + lane, token = i / kPieces, piece = i % kPieces, column = first + piece * 8;
      if (round * C::kRound + token >= tile.num_tokens || column >= num_columns) continue;
      *reinterpret_cast<uint4*>(view.out + shared.rows[buffer][round * C::kRound + token] * view.out_stride + column) =
          *reinterpret_cast<const uint4*>(to + place(token, piece));
    }
  }
}

// number: of the tile, among this block's.
template <class C, int kTokens>
__device__ void consume_tile(const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages,
                             Ring<C>& ring, int number, const ExpertTile& tile) {
  const int buffer = number % 2;
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup();
  float factor[2][2]{};
  if constexpr (sizeof(typename C::T) == 1) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int n = tile.n0 + (group * 4 + warp) * C::kWarpRows + h * 16 + m * 8 + lane / 4;
        if (n < view.size_n) factor[m][h] = view.weight_scales[tile.weight_row - tile.n0 + n];
      }
  }
  float sum[2][kTokens / 2]{};  // set, or it would live on through the products of other widths
  multiply_tile<C, kTokens>(sum, shared, stages, ring, (view.size_k + C::kBlockK - 1) / C::kBlockK);
  barrier_wait(shared.known[buffer], number / 2 % 2);
  uint8_t* staging = stages + C::kStages * C::kStageBytes;
  if (view.is_swiglu) {
    store_results<C, kTokens, true>(view, shared, buffer, staging, tile, sum, factor);
  } else {
    store_results<C, kTokens, false>(view, shared, buffer, staging, tile, sum, factor);
  }
}

// With the narrowest product that holds the tile's tokens.
template <class C>
__device__ void consume_tiles(const ExpertGemmView& view, ExpertGemmShared<C>& shared, uint8_t* stages) {
  TileWalk<C> walk;
  Ring<C> ring;
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
__global__ void __launch_bounds__(C::kThreads, 1)
    expert_gemm_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap token_map,
                       const __grid_constant__ ExpertGemmView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ ExpertGemmShared<C> shared;
  uint8_t* stages = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  if (threadIdx.x == 0) {
    prefetch_map(weight_map);
    prefetch_map(token_map);
    for (int s = 0; s < C::kStages; ++s) {
      barrier_init(shared.full[s], 1);
      barrier_init(shared.empty[s], 2 * C::kConsumers / kWarpSize);
    }
    for (uint64_t& barrier : shared.known) barrier_init(barrier, kWarpSize);
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
    if (threadIdx.x < C::kConsumers + kWarpSize)
      produce_tiles<C>(weight_map, token_map, view, shared, stages);
  }
  cluster_sync();  // nobody leaves while the other block tells it what is free
}

}  // namespace gale::cuda
