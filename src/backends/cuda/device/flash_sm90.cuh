#pragma once

#include "backends/cuda/device/flash.cuh"
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma_wide.cuh"

// Causal attention of prompts on sm_90a: queries of one head by keys and values that lie side by side, bf16. A block
// owns kRows query tokens of one head. One thread asks the copy engine for queries once and for tiles of keys and
// values in turn; two warpgroups of 64 rows each multiply. A group's products of the next tile's scores run while it
// softens this tile's, and values of the tile before are added meanwhile. Limited by the tensor cores. Keys come in
// pieces where they are many: what a row has so far then waits in memory, as it was in the registers, so that pieces
// do not change a result.
namespace gale::cuda {

inline constexpr int kMaxFlashSegments = 48;

// Keys of one sequence that lie in the buffers now, and its queries.
struct FlashSegment {
  int first_token, num_queries;   // of the sequence in the step
  int before;                     // keys of the sequence before its first query
  int key_begin, num_keys;        // of this piece in the sequence
  int first_row;                  // of this piece in the buffers
  int first_block;                // row blocks of the segments before
};

struct FlashView {
  Bf16* out;
  float* state;                   // of a row and head: results without their factor, the maximum, four parts of the sum
  int64_t out_token, out_head, state_token, state_head;
  int num_heads, group;           // query heads; those of a key head
  int num_segments;
  float scale_log2;
  FlashSegment segments[kMaxFlashSegments];
};

// kOwnParts: of the 64-element parts of a key, those that each head has for itself; the others are common to all heads.
// kTurns: the groups ask for products in turn, so that one softens while the other multiplies.
template <int kDim_, int kOwnParts_, int kTile_, bool kTurns_>
struct FlashConfig {
  static constexpr bool kTurns = kTurns_;
  static constexpr int kDim = kDim_, kTile = kTile_, kOwnParts = kOwnParts_;
  static constexpr int kParts = kDim / 64, kStages = 2;
  static constexpr int kRows = 128, kConsumers = 256, kThreads = kSharingThreads;
  // bytes of 64 elements
  static constexpr int kQueryPart = kRows * kSwizzledRowBytes, kTilePart = kTile * kSwizzledRowBytes;
  static constexpr int kTileBytes = kParts * kTilePart;
  static constexpr int kSharedBytes = kParts * kQueryPart + 2 * kStages * kTileBytes + 1024;
  static_assert(kTilePart % 1024 == 0 && kTile % 16 == 0);
};

template <class C>
struct FlashBarriers {
  uint64_t q, k_full[C::kStages], k_empty[C::kStages], v_full[C::kStages], v_empty[C::kStages];
};

// Where in dynamic shared memory, from a multiple of 1024 bytes on.
template <class C>
struct FlashMemory {
  uint8_t* base;
  __device__ uint8_t* q() const { return base; }
  __device__ uint8_t* k(int stage) const { return base + C::kParts * C::kQueryPart + stage * C::kTileBytes; }
  __device__ uint8_t* v(int stage) const { return k(C::kStages + stage); }
};

struct FlashBlock {
  FlashSegment segment;
  int head, first_query;          // of the sequence
  int last_visible;               // keys of the sequence that the block's last query sees
  int num_keys;                   // those of them in this piece
};

template <class C>
__device__ FlashBlock flash_block(const FlashView& view) {
  const int item = blockIdx.x / view.num_heads;
  int s = 0;
  while (s + 1 < view.num_segments && view.segments[s + 1].first_block <= item) ++s;
  FlashBlock block;
  block.segment = view.segments[s];
  block.head = blockIdx.x % view.num_heads;
  const FlashSegment& segment = block.segment;
  const int num_blocks = (segment.num_queries + C::kRows - 1) / C::kRows;
  block.first_query = (num_blocks - 1 - (item - segment.first_block)) * C::kRows;   // those with most keys begin first
  block.last_visible = segment.before + min(block.first_query + C::kRows, segment.num_queries);
  block.num_keys = min(block.last_visible - segment.key_begin, segment.num_keys);
  return block;
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Groups 0 and 1 take turns; each passes its turn on as often as it waits for one.
template <class C>
__device__ void wait_for_turn(int group) {
  if constexpr (C::kTurns) asm volatile("bar.sync %0, 256;" ::"r"(3 + group) : "memory");
}
template <class C>
__device__ void pass_turn(int group) {
  if constexpr (C::kTurns) asm volatile("bar.arrive %0, 256;" ::"r"(4 - group) : "memory");
}
__device__ inline void group_sync(int group) { asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory"); }

// --- copies --------------------------------------------------------------------------------------------------------

template <class C>
__device__ void flash_produce(const CUtensorMap& q_map, const CUtensorMap& k_map, const CUtensorMap& common_map,
                              const CUtensorMap& v_map, const FlashView& view, FlashBarriers<C>& barriers,
                              const FlashMemory<C>& memory, const FlashBlock& block) {
  const int num_tiles = (block.num_keys + C::kTile - 1) / C::kTile, kv_head = block.head / view.group;
  const int first_token = block.segment.first_token + block.first_query;
  barrier_expect(barriers.q, C::kParts * C::kQueryPart);
#pragma unroll
  for (int part = 0; part < C::kParts; ++part) {
    const int column = block.head * C::kDim + part * 64;
    load_box(memory.q() + part * C::kQueryPart, q_map, column, first_token, barriers.q, kEvictFirst);
  }
  for (int i = 0; i < num_tiles; ++i) {
    const int stage = i % C::kStages, row = block.segment.first_row + i * C::kTile, parity = (i / C::kStages - 1) & 1;
    const bool is_used = i >= C::kStages;
    if (is_used) barrier_wait(barriers.k_empty[stage], parity);
    uint64_t& k_full = barriers.k_full[stage];
    barrier_expect(k_full, C::kTileBytes);
#pragma unroll
    for (int part = 0; part < C::kParts; ++part) {
      const bool is_own = part < C::kOwnParts;
      const int column = is_own ? (kv_head * C::kOwnParts + part) * 64 : (part - C::kOwnParts) * 64;
      load_box(memory.k(stage) + part * C::kTilePart, is_own ? k_map : common_map, column, row, k_full, kEvictLast);
    }
    if (is_used) barrier_wait(barriers.v_empty[stage], parity);
    uint64_t& v_full = barriers.v_full[stage];
    barrier_expect(v_full, C::kTileBytes);
#pragma unroll
    for (int part = 0; part < C::kParts; ++part) {
      const int column = kv_head * C::kDim + part * 64;
      load_box(memory.v(stage) + part * C::kTilePart, v_map, column, row, v_full, kEvictLast);
    }
  }
}

// --- arithmetic ----------------------------------------------------------------------------------------------------

// A thread's rows are g and g + 8 of its warp's sixteen; `sum` is its own columns' share.
template <class C>
struct FlashRows {
  float out[C::kDim / 2];
  float maximum[2], sum[2];
};

template <class C>
__device__ void multiply_scores(float (&scores)[C::kTile / 2], const FlashMemory<C>& memory, int stage, int group) {
  const uint64_t q = tile_descriptor(memory.q() + group * 64 * kSwizzledRowBytes), k = tile_descriptor(memory.k(stage));
#pragma unroll
  for (int step = 0; step < C::kDim / 16; ++step) {
    const int q_step = step / 4 * (C::kQueryPart / 16) + step % 4 * kPlainStep;
    const int k_step = step / 4 * (C::kTilePart / 16) + step % 4 * kPlainStep;
    wgmma_wide<C::kTile, false>(scores, q + q_step, k + k_step, step > 0);
  }
}

template <class C>
__device__ void multiply_values(float (&out)[C::kDim / 2], const uint32_t (&p)[C::kTile / 16][4],
                                const FlashMemory<C>& memory, int stage) {
  const uint64_t v = transposed_descriptor(memory.v(stage), C::kTilePart);
#pragma unroll
  for (int step = 0; step < C::kTile / 16; ++step)
    wgmma_fragment<C::kDim>(out, p[step], v + step * kTransposedStep, true);
}

// Rows of a tile of values that are not this sequence's: they may hold anything, and meet probabilities of 0.
template <class C>
__device__ void clear_values(const FlashMemory<C>& memory, int stage, int first_row, int group) {
  const int chunks = (C::kTile - first_row) * 8;   // of 16 bytes, in each part
  for (int i = threadIdx.x % 128; i < chunks * C::kParts; i += 128) {
    uint8_t* rows = memory.v(stage) + i / chunks * C::kTilePart + first_row * kSwizzledRowBytes;
    *reinterpret_cast<uint4*>(rows + i % chunks * 16) = uint4{};
  }
  fence_async_proxy();
  group_sync(group);
}

// Columns that a row does not see. limit: how many it sees from the tile's first on.
template <class C>
__device__ void hide(float (&scores)[C::kTile / 2], const int (&limit)[2], int lane) {
#pragma unroll
  for (int j = 0; j < C::kTile / 8; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (j * 8 + lane % 4 * 2 + e % 2 >= limit[e / 2]) scores[4 * j + e] = -INFINITY;
}

// Scores become probabilities, packed; rescale: what earlier results and sums are worth now.
template <class C>
__device__ void soften(float (&scores)[C::kTile / 2], float (&maximum)[2], float (&sum)[2], float (&rescale)[2],
                       float scale_log2) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = scores[2 * r];
#pragma unroll
    for (int j = 0; j < C::kTile / 8; ++j) top = fmaxf(top, fmaxf(scores[4 * j + 2 * r], scores[4 * j + 2 * r + 1]));
    const float now = fmaxf(maximum[r], quad_max(top) * scale_log2);
    rescale[r] = exp2_fast(maximum[r] - now);
    maximum[r] = now;
    float total = 0;
#pragma unroll
    for (int j = 0; j < C::kTile / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = scores[4 * j + 2 * r + e];
        x = exp2_fast(fmaf(x, scale_log2, -now));
        total += x;
      }
    }
    sum[r] = fmaf(sum[r], rescale[r], total);
  }
}

template <class C>
__device__ void pack(uint32_t (&p)[C::kTile / 16][4], const float (&scores)[C::kTile / 2]) {
#pragma unroll
  for (int step = 0; step < C::kTile / 16; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) p[step][i] = pack_bf16(scores[8 * step + 2 * i], scores[8 * step + 2 * i + 1]);
}

// Tells the producer that this warp has used a tile.
__device__ inline void release(uint64_t& barrier, int lane) {
  if (lane == 0) barrier_arrive(barrier);
}

// The tiles of this piece for a group; rows' limits count from the piece's first key.
template <class C>
__device__ void flash_tiles(FlashRows<C>& rows, FlashBarriers<C>& barriers, const FlashMemory<C>& memory,
                            const int (&limit)[2], int least_limit, int num_keys, int num_tiles, float scale_log2,
                            int group, int lane) {
  float scores[C::kTile / 2], rescale[2];
  uint32_t p[C::kTile / 16][4];
  const auto stage_of = [](int i) { return i % C::kStages; };
  const auto parity_of = [](int i) { return i / C::kStages & 1; };
  const auto soften_tile = [&](int i) {
    if ((i + 1) * C::kTile > least_limit) {
      const int seen[2] = {limit[0] - i * C::kTile, limit[1] - i * C::kTile};
      hide<C>(scores, seen, lane);
    }
    soften<C>(scores, rows.maximum, rows.sum, rescale, scale_log2);
  };
  const auto wait_for_values = [&](int i) {
    barrier_wait(barriers.v_full[stage_of(i)], parity_of(i));
    if ((i + 1) * C::kTile > num_keys) clear_values<C>(memory, stage_of(i), num_keys - i * C::kTile, group);
  };
  const auto rescale_and_pack = [&] {
#pragma unroll
    for (int j = 0; j < C::kDim / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) rows.out[4 * j + e] *= rescale[e / 2];
    pack<C>(p, scores);
  };
  if (num_tiles <= 0) return;
  barrier_wait(barriers.k_full[0], 0);
  wait_for_turn<C>(group);
  wgmma_fence();
  multiply_scores<C>(scores, memory, 0, group);
  wgmma_commit();
  pass_turn<C>(group);
  wgmma_wait<0>();
  pin_registers(scores);
  release(barriers.k_empty[0], lane);
  soften_tile(0);
  rescale_and_pack();
#pragma unroll 1
  for (int i = 1; i < num_tiles; ++i) {
    barrier_wait(barriers.k_full[stage_of(i)], parity_of(i));
    wait_for_turn<C>(group);
    wgmma_fence();
    multiply_scores<C>(scores, memory, stage_of(i), group);
    wgmma_commit();
    barrier_wait(barriers.v_full[stage_of(i - 1)], parity_of(i - 1));   // not the last: all of its rows are keys
    multiply_values<C>(rows.out, p, memory, stage_of(i - 1));
    wgmma_commit();
    pass_turn<C>(group);
    wgmma_wait<1>();
    pin_registers(scores);
    release(barriers.k_empty[stage_of(i)], lane);
    soften_tile(i);
    wgmma_wait<0>();
    pin_registers(rows.out);
    pin_registers(scores);   // nothing is packed while the products still read `p`
    release(barriers.v_empty[stage_of(i - 1)], lane);
    rescale_and_pack();
  }
  const int last = num_tiles - 1;
  wait_for_values(last);
  wgmma_fence();
  multiply_values<C>(rows.out, p, memory, stage_of(last));
  wgmma_commit();
  wgmma_wait<0>();
  pin_registers(rows.out);
  release(barriers.v_empty[stage_of(last)], lane);
}

// Tiles that only the other group needs.
template <class C>
__device__ void skip_tiles(FlashBarriers<C>& barriers, int begin, int end, int group, int lane) {
  for (int i = begin; i < end; ++i) {
    wait_for_turn<C>(group);
    pass_turn<C>(group);
    const int stage = i % C::kStages, parity = i / C::kStages & 1;
    barrier_wait(barriers.k_full[stage], parity);
    release(barriers.k_empty[stage], lane);
    barrier_wait(barriers.v_full[stage], parity);
    release(barriers.v_empty[stage], lane);
  }
}

// --- rows in and out -----------------------------------------------------------------------------------------------

constexpr float kNoScore = -1e30f;   // below any score, and finite: a difference of two is

template <class C>
__device__ float* state_of(const FlashView& view, const FlashBlock& block, int query) {
  return view.state + (block.segment.first_token + query) * view.state_token + block.head * view.state_head;
}

template <class C>
__device__ void load_rows(FlashRows<C>& rows, const FlashView& view, const FlashBlock& block, const int (&query)[2],
                          int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.maximum[r] = kNoScore, rows.sum[r] = 0;
    const bool is_kept = block.segment.key_begin > 0 && query[r] < block.segment.num_queries;
    const float* state = state_of<C>(view, block, is_kept ? query[r] : 0);
    if (is_kept) rows.maximum[r] = state[C::kDim];
    if (is_kept) rows.sum[r] = state[C::kDim + 1 + lane % 4];
#pragma unroll
    for (int j = 0; j < C::kDim / 8; ++j) {
      const float2 x = is_kept ? *reinterpret_cast<const float2*>(state + j * 8 + lane % 4 * 2) : float2{};
      rows.out[4 * j + 2 * r] = x.x, rows.out[4 * j + 2 * r + 1] = x.y;
    }
  }
}

template <class C>
__device__ void keep_rows(const FlashRows<C>& rows, const FlashView& view, const FlashBlock& block,
                          const int (&query)[2], int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (query[r] >= block.segment.num_queries) continue;
    float* state = state_of<C>(view, block, query[r]);
#pragma unroll
    for (int j = 0; j < C::kDim / 8; ++j)
      *reinterpret_cast<float2*>(state + j * 8 + lane % 4 * 2) = {rows.out[4 * j + 2 * r], rows.out[4 * j + 2 * r + 1]};
    if (lane % 4 == 0) state[C::kDim] = rows.maximum[r];
    state[C::kDim + 1 + lane % 4] = rows.sum[r];
  }
}

// Four 8 x 8 fragments: lane l gives where row l % 8 of fragment l / 8 goes.
__device__ inline void store_matrices(void* to, const uint32_t (&x)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
               ::"r"(shared_address(to)), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]) : "memory");
}

// Through the memory of the group's queries, so that whole rows leave.
template <class C>
__device__ void store_rows(const FlashRows<C>& rows, const FlashView& view, const FlashBlock& block,
                           const FlashMemory<C>& memory, int group, int warp, int lane) {
  float factor[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(rows.sum[r]);
    factor[r] = sum > 0 ? 1 / sum : 0.0f;
  }
  group_sync(group);   // all warps of the group have used its queries
  const int first = group * 64 + warp * 16;
  const auto chunk_at = [&](int row, int chunk) {
    return memory.q() + chunk / 8 * C::kQueryPart + (first + row) * kSwizzledRowBytes + ((chunk % 8) ^ (row & 7)) * 16;
  };
#pragma unroll
  for (int j = 0; j < C::kDim / 8; j += 2) {
    uint32_t x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 4 * (j + i / 2) + 2 * (i % 2);
      x[i] = pack_bf16(rows.out[at] * factor[i % 2], rows.out[at + 1] * factor[i % 2]);
    }
    store_matrices(chunk_at(lane / 8 % 2 * 8 + lane % 8, j + lane / 16), x);
  }
  __syncwarp();
  constexpr int kChunks = C::kDim / 8, kRowsAtOnce = kWarpSize / kChunks;
#pragma unroll 4
  for (int i = 0; i < 16; i += kRowsAtOnce) {
    const int row = i + lane / kChunks, chunk = lane % kChunks, query = block.first_query + first + row;
    const uint4 x = *reinterpret_cast<const uint4*>(chunk_at(row, chunk));
    if (query >= block.segment.num_queries) continue;
    Bf16* out = view.out + (block.segment.first_token + query) * view.out_token + block.head * view.out_head;
    *reinterpret_cast<uint4*>(out + chunk * 8) = x;
  }
}

template <class C>
__device__ void flash_consume(const FlashView& view, FlashBarriers<C>& barriers, const FlashMemory<C>& memory,
                              const FlashBlock& block) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = threadIdx.x / 128;
  const FlashSegment& segment = block.segment;
  const int group_query = block.first_query + group * 64;
  const int query[2] = {group_query + warp * 16 + lane / 4, group_query + warp * 16 + lane / 4 + 8};
  // Keys of this piece that a query sees.
  const auto limit_of = [&](int q) { return min(segment.before + q + 1 - segment.key_begin, segment.num_keys); };
  const int limit[2] = {limit_of(query[0]), limit_of(query[1])};
  const int block_tiles = (block.num_keys + C::kTile - 1) / C::kTile;
  const int last_limit = min(limit_of(group_query + 63), block.num_keys);
  const int num_tiles = group_query < segment.num_queries ? max(0, (last_limit + C::kTile - 1) / C::kTile) : 0;
  FlashRows<C> rows;
  load_rows<C>(rows, view, block, query, lane);
  barrier_wait(barriers.q, 0);
  if (group == 1) pass_turn<C>(group);   // group 0 has the first
  flash_tiles<C>(rows, barriers, memory, limit, limit_of(group_query), segment.num_keys, num_tiles, view.scale_log2, group, lane);
  skip_tiles<C>(barriers, num_tiles, block_tiles, group, lane);
  if (block.last_visible > segment.key_begin + segment.num_keys) {
    keep_rows<C>(rows, view, block, query, lane);
  } else {
    store_rows<C>(rows, view, block, memory, group, warp, lane);
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1)
    flash_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                 const __grid_constant__ CUtensorMap common_map, const __grid_constant__ CUtensorMap v_map,
                 const __grid_constant__ FlashView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ FlashBarriers<C> barriers;
  const FlashMemory<C> memory{dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024};
  const FlashBlock block = flash_block<C>(view);
  if (threadIdx.x == 0) {
    barrier_init(barriers.q, 1);
    for (int s = 0; s < C::kStages; ++s) {
      constexpr int kWarps = C::kConsumers / kWarpSize;
      barrier_init(barriers.k_full[s], 1), barrier_init(barriers.v_full[s], 1);
      barrier_init(barriers.k_empty[s], kWarps), barrier_init(barriers.v_empty[s], kWarps);
    }
    fence_barrier_init();
  }
  __syncthreads();
  wait_for_predecessor();
  release_successor();
  if (block.num_keys <= 0) return;   // finished with an earlier piece
  if (threadIdx.x < C::kConsumers) {
    take_registers();
    flash_consume<C>(view, barriers, memory, block);
  } else {
    give_registers();
    if (threadIdx.x == C::kConsumers) flash_produce<C>(q_map, k_map, common_map, v_map, view, barriers, memory, block);
  }
}

}  // namespace gale::cuda
