#pragma once

#include <algorithm>

#include "backends/cuda/device/flash.cuh"
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma_attention.cuh"

// Causal attention of prompts on sm_90a, heads of 128 or 256, bf16 keys and values side by side or in pages. A block
// owns kRows query tokens of one head. One warp asks the copy engine for queries and for tiles of keys and values; two
// warpgroups of 64 rows each multiply. A group's products of the next tile's scores run while it softens this tile's,
// and values of the tile before are added meanwhile. Limited by the tensor cores. Keys that are many may come in
// pieces, a launch each: what a row has so far then waits in memory, as it was in the registers, so that pieces do not
// change a result.
namespace gale::cuda {

inline constexpr int kMaxFlashSegments = 48, kMaxFlashBlocks = 512;

// Keys of one sequence, all or those that lie in the buffers now, and its queries.
struct FlashSegment {
  int sequence;                   // of the block tables
  int first_token, num_queries;   // of the sequence in the step
  int before;                     // keys of the sequence before its first query
  int key_begin, num_keys;        // of this piece in the sequence; in pages whole tiles, but the last
  int first_row;                  // of this piece in the buffers, if side by side
  int state_row;                  // of its first query in `state`
  bool is_shared;                 // other blocks have the other pieces: what rows have of this one stays in `state`
};

// The one that a row of the buffers belongs to.
template <class View>
__device__ const FlashSegment& segment_of_row(const View& view, int row) {
  int s = 0;
  while (s + 1 < view.num_segments && view.segments[s + 1].first_row <= row) ++s;
  return view.segments[s];
}

struct FlashView {
  Bf16* out;
  float* state;                   // of a row and head: results without their factor, the maximum, four parts of the sum
  int64_t out_token, out_head, state_token, state_head;
  Pages pages;                    // if keys lie in pages, of a power of two
  int box_rows;                   // of a page in one copy
  int num_heads, group;           // query heads; those of a key head
  float scale_log2;
  FlashSegment segments[kMaxFlashSegments];
  uint16_t blocks[kMaxFlashBlocks];   // segment and number of a row block
};
inline constexpr int kFlashBlockBits = 10;

// kOwnParts: of the 64-element parts of a key, those that each head has for itself; the others are common to all heads.
// kTurns: the groups ask for products in turn, so that one softens while the other multiplies.
enum class FlashKeys { kSideBySide, kPaged };
template <int kDim_, int kOwnParts_, int kTile_, FlashKeys kKeys, bool kTurns_>
struct FlashConfig {
  static constexpr bool kPaged = kKeys == FlashKeys::kPaged, kTurns = kTurns_;
  static constexpr int kDim = kDim_, kTile = kTile_, kOwnParts = kOwnParts_;
  static constexpr int kParts = kDim / 64, kStages = 2;
  static constexpr int kRows = 128, kConsumers = 256, kThreads = kSharingThreads;
  static constexpr int kQueryPart = kRows * kSwizzledRowBytes;   // bytes of 64 elements
  static constexpr int kTilePart = kTile * kSwizzledRowBytes, kTileBytes = kParts * kTilePart;
  static constexpr int kSharedBytes = kParts * kQueryPart + 2 * kStages * kTileBytes + 1024;
  static_assert(kTilePart % 1024 == 0 && kTile % 16 == 0);
};

template <class C>
struct FlashBarriers {
  uint64_t q_full, k_full[C::kStages], k_empty[C::kStages], v_full[C::kStages], v_empty[C::kStages];
};

// Where in dynamic shared memory, from a multiple of 1024 bytes on.
template <class C>
struct FlashMemory {
  uint8_t* base;
  __device__ uint8_t* q() const { return base; }
  __device__ uint8_t* k(int stage) const { return base + C::kParts * C::kQueryPart + stage * C::kTileBytes; }
  __device__ uint8_t* v(int stage) const { return k(C::kStages + stage); }
};

struct FlashMaps { CUtensorMap q, k, common, v; };

struct FlashBlock {
  FlashSegment segment;
  int head, first_query;          // of the sequence
  int last_visible;               // keys of the sequence that the block's last query sees
  int num_keys;                   // those of them in this piece
  int num_tiles;
};

template <class C>
__device__ FlashBlock flash_block(const FlashView& view) {
  const int entry = view.blocks[blockIdx.x / view.num_heads];
  FlashBlock block;
  block.segment = view.segments[entry >> kFlashBlockBits];
  block.head = blockIdx.x % view.num_heads;
  const FlashSegment& segment = block.segment;
  block.first_query = (entry & ((1 << kFlashBlockBits) - 1)) * C::kRows;
  block.last_visible = segment.before + min(block.first_query + C::kRows, segment.num_queries);
  block.num_keys = min(block.last_visible - segment.key_begin, segment.num_keys);
  block.num_tiles = (block.num_keys + C::kTile - 1) / C::kTile;
  return block;
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

// --- copies ---------------------------------------------------------------------------------------------------------

// What a lane copies of each tile: a part of 64 elements, of all rows or, in pages, of those of one page.
template <class C>
struct FlashCopier {
  int part, box, offset;
  bool is_busy;

  __device__ FlashCopier(const FlashView& view, int lane) {
    const int boxes = C::kPaged ? C::kTile / view.box_rows : 1;
    part = lane / boxes, box = lane % boxes;
    is_busy = part < C::kParts;
    offset = part * C::kTilePart + (C::kPaged ? box * view.box_rows * kSwizzledRowBytes : 0);
  }
  // Where its rows of a tile begin. Behind the last key: somewhere; what lies there is hidden, or cleared.
  __device__ int row_of(const FlashView& view, const FlashBlock& block, int kv_head, int tile) const {
    if constexpr (!C::kPaged) return block.segment.first_row + tile * C::kTile;
    const int position = min(tile * C::kTile + box * view.box_rows, block.segment.num_keys - 1);
    const int key = block.segment.key_begin + (position & -view.box_rows);
    return view.pages.row(block.segment.sequence, kv_head, key);
  }
  __device__ void copy_key(const FlashMaps& maps, uint8_t* tile, int kv_head, int row, uint64_t& barrier) const {
    if (!is_busy) return;
    const bool is_own = C::kPaged || part < C::kOwnParts;
    const int own_part = C::kPaged ? part : kv_head * C::kOwnParts + part;
    const int column = (is_own ? own_part : part - C::kOwnParts) * 64;
    load_box(tile + offset, is_own ? maps.k : maps.common, column, row, barrier, kEvictLast);
  }
  __device__ void copy_value(const FlashMaps& maps, uint8_t* tile, int kv_head, int row, uint64_t& barrier) const {
    const int column = (C::kPaged ? 0 : kv_head * C::kDim) + part * 64;
    if (is_busy) load_box(tile + offset, maps.v, column, row, barrier, kEvictLast);
  }
};

template <class C>
__device__ void copy_queries(const FlashMaps& maps, FlashBarriers<C>& barriers, const FlashMemory<C>& memory,
                             const FlashBlock& block, int lane) {
  const int column = block.head * C::kDim + lane * 64, row = block.segment.first_token + block.first_query;
  if (lane < C::kParts) load_box(memory.q() + lane * C::kQueryPart, maps.q, column, row, barriers.q_full, kEvictFirst);
}

// By one warp.
template <class C>
__device__ void flash_produce(const FlashMaps& maps, const FlashView& view, FlashBarriers<C>& barriers,
                              const FlashMemory<C>& memory, const FlashBlock& block, int lane) {
  const FlashCopier<C> copier(view, lane);
  const auto expect = [lane](uint64_t& barrier, int num_bytes) {
    if (lane == 0) barrier_expect(barrier, num_bytes);
    __syncwarp();
  };
  const int kv_head = block.head / view.group;
  int row = copier.row_of(view, block, kv_head, 0);
  expect(barriers.q_full, C::kParts * C::kQueryPart);
  copy_queries<C>(maps, barriers, memory, block, lane);
  for (int i = 0; i < block.num_tiles; ++i) {
    const int stage = i % C::kStages, parity = (i / C::kStages - 1) & 1;
    const bool is_used = i >= C::kStages;
    if (is_used) barrier_wait(barriers.k_empty[stage], parity);
    expect(barriers.k_full[stage], C::kTileBytes);
    copier.copy_key(maps, memory.k(stage), kv_head, row, barriers.k_full[stage]);
    if (is_used) barrier_wait(barriers.v_empty[stage], parity);
    expect(barriers.v_full[stage], C::kTileBytes);
    copier.copy_value(maps, memory.v(stage), kv_head, row, barriers.v_full[stage]);
    row = copier.row_of(view, block, kv_head, i + 1);
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

// Scores of tile i into probabilities. limit: keys from the first tile on that each of the two rows sees; least_limit:
// that every row sees.
template <class C, class Rows>
__device__ __forceinline__ void soften_tile(float (&scores)[C::kTile / 2], Rows& rows, float (&rescale)[2], int i,
                                            const int (&limit)[2], int least_limit, float scale_log2, int lane) {
  if ((i + 1) * C::kTile > least_limit) {
    const int seen[2] = {limit[0] - i * C::kTile, limit[1] - i * C::kTile};
    hide<C>(scores, seen, lane);
  }
  soften<C>(scores, rows.maximum, rows.sum, rescale, scale_log2);
}

// What is summed so far to the new maxima, the probabilities into operands.
template <class C, int kOut>
__device__ __forceinline__ void rescale_and_pack(float (&out)[kOut], uint32_t (&p)[C::kTile / 16][4],
                                                 const float (&scores)[C::kTile / 2], const float (&rescale)[2]) {
#pragma unroll
  for (int j = 0; j < kOut / 4; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) out[4 * j + e] *= rescale[e / 2];
  pack<C>(p, scores);
}

// Ends a step's products: first the scores', which soften() takes, then the values', which went along.
template <int kScores, int kOut, class Soften>
__device__ __forceinline__ void end_step(float (&scores)[kScores], float (&out)[kOut], Soften&& soften) {
  wgmma_wait<1>();
  pin_registers(scores);
  soften();
  wgmma_wait<0>();
  pin_registers(out);
  pin_registers(scores);   // nothing is packed while the products still read the probabilities
}

// The tiles of a block for a group; rows' limits count from the piece's first key.
template <class C>
__device__ void flash_tiles(FlashRows<C>& rows, FlashBarriers<C>& barriers, const FlashMemory<C>& memory,
                            const int (&limit)[2], int least_limit, int num_keys, int num_tiles,
                            float scale_log2, int group, int lane) {
  float scores[C::kTile / 2], rescale[2];
  uint32_t p[C::kTile / 16][4];
  const auto stage_of = [](int i) { return i % C::kStages; };
  const auto parity_of = [](int i) { return i / C::kStages & 1; };
  const auto soften_own = [&](int i) {
    release(barriers.k_empty[stage_of(i)], lane);
    soften_tile<C>(scores, rows, rescale, i, limit, least_limit, scale_log2, lane);
  };
  if (num_tiles <= 0) return;
  barrier_wait(barriers.k_full[stage_of(0)], parity_of(0));
  wait_for_turn<C>(group);
  wgmma_fence();
  multiply_scores<C>(scores, memory, stage_of(0), group);
  wgmma_commit();
  pass_turn<C>(group);
  wgmma_wait<0>();
  pin_registers(scores);
  soften_own(0);
  rescale_and_pack<C>(rows.out, p, scores, rescale);
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
    end_step(scores, rows.out, [&] { soften_own(i); });
    release(barriers.v_empty[stage_of(i - 1)], lane);
    rescale_and_pack<C>(rows.out, p, scores, rescale);
  }
  const int last = num_tiles - 1;
  barrier_wait(barriers.v_full[stage_of(last)], parity_of(last));
  if (num_tiles * C::kTile > num_keys) clear_values<C>(memory, stage_of(last), num_keys - last * C::kTile, group);
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
    const int stage = i % C::kStages, parity = i / C::kStages & 1;
    wait_for_turn<C>(group);
    pass_turn<C>(group);
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
  return view.state + (block.segment.state_row + query) * view.state_token + block.head * view.state_head;
}

template <class C>
__device__ void load_rows(FlashRows<C>& rows, const FlashView& view, const FlashBlock& block, const int (&query)[2],
                          int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.maximum[r] = kNoScore, rows.sum[r] = 0;
    const bool is_kept =
        block.segment.key_begin > 0 && !block.segment.is_shared && query[r] < block.segment.num_queries;
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

// Word i of lane t becomes word t of lane i, among four lanes.
__device__ inline void transpose_quad(uint32_t (&x)[4], int t) {
  const bool is_odd = t % 2 == 1, is_upper = t >= 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t other = __shfl_xor_sync(kFullMask, is_odd ? x[i] : x[i + 1], 1);
    if (is_odd) x[i] = other; else x[i + 1] = other;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t other = __shfl_xor_sync(kFullMask, is_upper ? x[i] : x[i + 2], 2);
    if (is_upper) x[i] = other; else x[i + 2] = other;
  }
}

template <class C>
__device__ void store_rows(const FlashRows<C>& rows, const FlashView& view, const FlashBlock& block,
                           const int (&query)[2], int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(rows.sum[r]), factor = sum > 0 ? 1 / sum : 0.0f;
    Bf16* out = view.out + (block.segment.first_token + query[r]) * view.out_token + block.head * view.out_head;
#pragma unroll
    for (int j = 0; j < C::kDim / 8; j += 4) {
      uint32_t x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 4 * (j + i) + 2 * r;
        x[i] = pack_bf16(rows.out[at] * factor, rows.out[at + 1] * factor);
      }
      transpose_quad(x, lane % 4);
      if (query[r] < block.segment.num_queries) {
        *reinterpret_cast<uint4*>(out + (j + lane % 4) * 8) = uint4{x[0], x[1], x[2], x[3]};
      }
    }
  }
}

template <class C>
__device__ void flash_consume(const FlashView& view, FlashBarriers<C>& barriers, const FlashMemory<C>& memory,
                              const FlashBlock& block) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = threadIdx.x / 128;
  const FlashSegment& segment = block.segment;
  const int group_query = block.first_query + group * 64, first_row = group_query + warp * 16 + lane / 4;
  const int query[2] = {first_row, first_row + 8};
  // Keys of this piece that a query sees.
  const auto limit_of = [&](int q) { return min(segment.before + q + 1 - segment.key_begin, segment.num_keys); };
  const int limit[2] = {limit_of(query[0]), limit_of(query[1])};
  const int last_limit = group_query < segment.num_queries ? min(limit_of(group_query + 63), block.num_keys) : 0;
  const int num_tiles = max(0, (last_limit + C::kTile - 1) / C::kTile);
  FlashRows<C> rows;
  load_rows<C>(rows, view, block, query, lane);
  barrier_wait(barriers.q_full, 0);
  if (group == 1) pass_turn<C>(group);   // group 0 has the first
  flash_tiles<C>(rows, barriers, memory, limit, limit_of(group_query), segment.num_keys, num_tiles, view.scale_log2,
                 group, lane);
  skip_tiles<C>(barriers, num_tiles, block.num_tiles, group, lane);
  if (segment.is_shared || block.last_visible > segment.key_begin + segment.num_keys) {
    keep_rows<C>(rows, view, block, query, lane);
  } else {
    store_rows<C>(rows, view, block, query, lane);
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1)
    flash_kernel(const __grid_constant__ FlashMaps maps, const __grid_constant__ FlashView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ FlashBarriers<C> barriers;
  const FlashMemory<C> memory{dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024};
  const FlashBlock block = flash_block<C>(view);
  if (threadIdx.x == 0) {
    constexpr int kWarps = C::kConsumers / kWarpSize;
    barrier_init(barriers.q_full, 1);
    for (int s = 0; s < C::kStages; ++s) {
      barrier_init(barriers.k_full[s], 1), barrier_init(barriers.v_full[s], 1);
      barrier_init(barriers.k_empty[s], kWarps), barrier_init(barriers.v_empty[s], kWarps);
    }
    fence_barrier_init();
  }
  __syncthreads();
  wait_for_predecessor();
  release_successor();
  if (threadIdx.x < C::kConsumers) {
    take_registers();
    flash_consume<C>(view, barriers, memory, block);
  } else {
    give_registers();
    const int lane = threadIdx.x - C::kConsumers;
    if (lane < kWarpSize) flash_produce<C>(maps, view, barriers, memory, block, lane);
  }
}

// --- shared keys ----------------------------------------------------------------------------------------------------

// Rows whose keys several blocks had: `pieces` parts of each, of piece_keys keys but the last, num_queries rows of
// `state` apart. Of pieces that a query does not see nothing is there.
struct FlashMergeView {
  Bf16* out;
  const float* state;
  int64_t out_token, out_head, state_token, state_head;
  int first_token, num_queries, before, state_row, pieces, piece_keys, num_heads;
};
inline constexpr int kMergeWarps = 8;

// A warp a row and head.
template <class C>
__global__ void __launch_bounds__(kMergeWarps * kWarpSize)
    flash_merge_kernel(const __grid_constant__ FlashMergeView view) {
  static_assert(C::kDim == 4 * kWarpSize);
  const int lane = threadIdx.x % kWarpSize, item = blockIdx.x * kMergeWarps + threadIdx.x / kWarpSize;
  const int query = item / view.num_heads, head = item % view.num_heads;
  wait_for_predecessor();
  release_successor();
  if (query >= view.num_queries) return;
  float4 total = {};
  float maximum = kNoScore, sum = 0;
  for (int p = 0; p < view.pieces && p * view.piece_keys <= view.before + query; ++p) {
    const float* state = view.state + (view.state_row + p * view.num_queries + query) * view.state_token +
                         head * view.state_head;
    const float4 x = *reinterpret_cast<const float4*>(state + 4 * lane);
    const float now = fmaxf(maximum, state[C::kDim]);
    const float before = exp2_fast(maximum - now), own = exp2_fast(state[C::kDim] - now);
    total.x = total.x * before + x.x * own, total.y = total.y * before + x.y * own;
    total.z = total.z * before + x.z * own, total.w = total.w * before + x.w * own;
    float part = 0;   // four lanes of a row had its columns
    for (int i = 0; i < 4; ++i) part += state[C::kDim + 1 + i];
    sum = sum * before + part * own;
    maximum = now;
  }
  const float factor = sum > 0 ? 1 / sum : 0.0f;
  Bf16* out = view.out + (view.first_token + query) * view.out_token + head * view.out_head;
  *reinterpret_cast<uint2*>(out + 4 * lane) = {pack_bf16(total.x * factor, total.y * factor),
                                               pack_bf16(total.z * factor, total.w * factor)};
}

// --- launch ---------------------------------------------------------------------------------------------------------

// One or several launches over the segments that `view` has: sequence after sequence, whose keys then stay in L2, and
// in each the rows with most keys first.
template <class C>
void launch_flash(Stream& stream, const FlashMaps& maps, FlashView& view, int num_segments) {
  int num_blocks = 0;
  const auto flush = [&] {
    const dim3 grid(num_blocks * view.num_heads);
    launch_pdl(stream, flash_kernel<C>, grid, dim3(C::kThreads), C::kSharedBytes, maps, view);
    num_blocks = 0;
  };
  allow_shared_memory(flash_kernel<C>, C::kSharedBytes);
  for (int s = 0; s < num_segments; ++s) {
    const FlashSegment& segment = view.segments[s];
    const int num_rows = ceil_div(segment.num_queries, C::kRows);
    CHECK(num_rows <= 1 << kFlashBlockBits, "{} queries of a sequence", segment.num_queries);
    for (int b = num_rows - 1; b >= 0; --b) {
      const int last_visible = segment.before + std::min((b + 1) * C::kRows, segment.num_queries);
      if (last_visible <= segment.key_begin) break;   // this and all before are finished with an earlier piece
      view.blocks[num_blocks++] = static_cast<uint16_t>(s << kFlashBlockBits | b);
      if (num_blocks == kMaxFlashBlocks) flush();
    }
  }
  flush();
}

}  // namespace gale::cuda
