// Absorbed MLA of a prompt's chunk on Hopper. A cached token is one key of 576 and one value of 512 for all heads, so
// the rows of a chunk are its tokens' heads, one after another, and 64 of them are a block's. The cached tokens are
// first laid side by side in bf16. Two warpgroups have the same rows: each multiplies all of the keys and adds up its
// half of the values' dimensions, whose sums fill its registers; the scores that both compute cost less than to
// exchange them. Where there are fewer rows than SMs want, blocks share the keys, and a second kernel adds up their
// results. Limited by the tensor cores: a tile of 64 keys takes them some 3200 clocks.
#include <algorithm>

#include "backends/cuda/device/mla_gather.cuh"
#include "backends/cuda/device/mla_items.cuh"
#include "backends/cuda/mla.h"
#include "backends/cuda/mla_prefill_plan.h"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/tensor_map.h"

namespace gale::cuda {
namespace {

constexpr int kRows = 64, kParts = kMlaKeyDim / 64;
constexpr int kPartBytes = 64 * kSwizzledRowBytes;   // 64 elements of 64 rows
constexpr int kTileBytes = kParts * kPartBytes;
constexpr int kConsumers = 256, kThreads = kSharingThreads, kStages = 2;
constexpr int kSharedBytes = (1 + kStages) * kTileBytes + 1024;
constexpr int kHalf = kMlaLatent / 2;                // dimensions of the values that a group has
constexpr int kMaxShares = 24;
constexpr int kMinShareKeys = 512;                   // a smaller share costs more to add up than it wins
static_assert(kSharedBytes + 256 <= 227 * 1024 && kMlaLatent == kLatentDim && kMlaKeyDim == kLatentDim + kRopeDim);

struct Tile { static constexpr int kTile = 64; };    // of keys, for what device/flash_sm90.cuh has

struct ChunkMaps { CUtensorMap q, latents, rope_keys; };

struct ChunkView {
  Bf16* out;
  int64_t out_token, out_head;
  float* values;                   // [shares][num_rows][kMlaLatent], where there are several: sums without their factor
  float2* stats;                   // [shares][num_rows]: maximum, sum
  int first_token, num_rows, num_heads, before;   // of the chunk; keys of the sequence before its first token
  int key_begin, num_keys;         // that lie side by side now
  int first_share, num_shares, share_keys;        // of these keys; share_keys: of each but the last, whole tiles
  bool is_alone;                   // all keys are one share
  float scale_log2;
};

struct Barriers { uint64_t q_full, full[kStages], empty[kStages]; };

struct Memory {
  uint8_t* base;
  __device__ uint8_t* q() const { return base; }
  __device__ uint8_t* tile(int i) const { return base + (1 + i % kStages) * kTileBytes; }
};

// A block's rows and keys.
struct Block {
  int first_row, share, key_begin, num_tiles;   // key_begin: in the sequence
};

__device__ Block own_block(const ChunkView& view) {
  Block block;
  block.share = static_cast<int>(blockIdx.x) % view.num_shares;
  block.first_row = static_cast<int>(blockIdx.x) / view.num_shares * kRows;
  block.key_begin = view.key_begin + block.share * view.share_keys;
  const int last_row = min(block.first_row + kRows, view.num_rows) - 1;
  const int end = min(view.key_begin + view.num_keys, block.key_begin + view.share_keys);
  const int num_keys = min(end, view.before + last_row / view.num_heads + 1) - block.key_begin;
  block.num_tiles = max(0, (num_keys + Tile::kTile - 1) / Tile::kTile);
  return block;
}

// By one thread.
__device__ void produce(const ChunkMaps& maps, const ChunkView& view, Barriers& barriers, const Memory& memory,
                        const Block& block) {
  barrier_expect(barriers.q_full, kTileBytes);
  const int q_row = view.first_token * view.num_heads + block.first_row;
  for (int part = 0; part < kParts; ++part)
    load_box(memory.q() + part * kPartBytes, maps.q, part * 64, q_row, barriers.q_full, kEvictFirst);
  for (int i = 0; i < block.num_tiles; ++i) {
    const int stage = i % kStages, row = block.key_begin - view.key_begin + i * Tile::kTile;
    if (i >= kStages) barrier_wait(barriers.empty[stage], (i / kStages - 1) & 1);
    barrier_expect(barriers.full[stage], kTileBytes);
    for (int part = 0; part < kParts - 1; ++part)
      load_box(memory.tile(i) + part * kPartBytes, maps.latents, part * 64, row, barriers.full[stage], kEvictLast);
    load_box(memory.tile(i) + (kParts - 1) * kPartBytes, maps.rope_keys, 0, row, barriers.full[stage], kEvictLast);
  }
}

struct Rows {
  float out[kHalf / 2];
  float maximum[2], sum[2];   // of rows lane / 4 and lane / 4 + 8 of the warp's sixteen; the sum is this lane's share
};

__device__ void multiply_scores(float (&scores)[Tile::kTile / 2], const Memory& memory, int i) {
  const uint64_t q = tile_descriptor(memory.q()), k = tile_descriptor(memory.tile(i));
#pragma unroll
  for (int part = 0; part < kParts; ++part)
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const int at = part * (kPartBytes / 16) + step * kPlainStep;
      wgmma_wide<Tile::kTile, false>(scores, q + at, k + at, part + step > 0);
    }
}

__device__ void multiply_values(float (&out)[kHalf / 2], const uint32_t (&p)[Tile::kTile / 16][4], const Memory& memory,
                                int i, int group) {
  const uint64_t v = transposed_descriptor(memory.tile(i) + group * (kHalf / 64) * kPartBytes, kPartBytes);
#pragma unroll
  for (int step = 0; step < Tile::kTile / 16; ++step)
    wgmma_fragment<kHalf>(out, p[step], v + step * kTransposedStep, true);
}

// limit: keys from the block's first on that a row sees; least_limit: that every row sees.
__device__ void attend(Rows& rows, Barriers& barriers, const Memory& memory, const int (&limit)[2], int least_limit,
                       int num_tiles, float scale_log2, int group, int lane) {
  float scores[Tile::kTile / 2], rescale[2];
  uint32_t p[Tile::kTile / 16][4];
  const auto soften_own = [&](int i) {
    soften_tile<Tile>(scores, rows, rescale, i, limit, least_limit, scale_log2, lane);
  };
  const auto wait_for_tile = [&](int i) { barrier_wait(barriers.full[i % kStages], i / kStages & 1); };
  wait_for_tile(0);
  wgmma_fence();
  multiply_scores(scores, memory, 0);
  wgmma_commit();
  wgmma_wait<0>();
  pin_registers(scores);
  soften_own(0);
  rescale_and_pack<Tile>(rows.out, p, scores, rescale);
#pragma unroll 1
  for (int i = 1; i < num_tiles; ++i) {
    wait_for_tile(i);
    wgmma_fence();
    multiply_scores(scores, memory, i);
    wgmma_commit();
    multiply_values(rows.out, p, memory, i - 1, group);
    wgmma_commit();
    end_step(scores, rows.out, [&] { soften_own(i); });
    release(barriers.empty[(i - 1) % kStages], lane);
    rescale_and_pack<Tile>(rows.out, p, scores, rescale);
  }
  wgmma_fence();
  multiply_values(rows.out, p, memory, num_tiles - 1, group);
  wgmma_commit();
  wgmma_wait<0>();
  pin_registers(rows.out);
}

__device__ Bf16* out_of(const ChunkView& view, int row) {
  return view.out + (view.first_token + row / view.num_heads) * view.out_token + row % view.num_heads * view.out_head;
}

__device__ void store_out(const Rows& rows, const ChunkView& view, const int (&row)[2], int group, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(rows.sum[r]), factor = sum > 0 ? 1 / sum : 0.0f;
    Bf16* out = out_of(view, min(row[r], view.num_rows - 1)) + group * kHalf;
#pragma unroll
    for (int j = 0; j < kHalf / 8; j += 4) {
      uint32_t x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 4 * (j + i) + 2 * r;
        x[i] = pack_bf16(rows.out[at] * factor, rows.out[at + 1] * factor);
      }
      transpose_quad(x, lane % 4);
      if (row[r] < view.num_rows)
        *reinterpret_cast<uint4*>(out + (j + lane % 4) * 8) = uint4{x[0], x[1], x[2], x[3]};
    }
  }
}

__device__ void store_share(const Rows& rows, const ChunkView& view, int share, const int (&row)[2], int group,
                            int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(rows.sum[r]);
    if (row[r] >= view.num_rows) continue;
    const int64_t at = static_cast<int64_t>(view.first_share + share) * view.num_rows + row[r];
    float* values = view.values + at * kMlaLatent + group * kHalf + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kHalf / 8; ++j)
      *reinterpret_cast<float2*>(values + j * 8) = {rows.out[4 * j + 2 * r], rows.out[4 * j + 2 * r + 1]};
    if (group == 0 && lane % 4 == 0) view.stats[at] = {rows.maximum[r], sum};
  }
}

__device__ void consume(const ChunkView& view, Barriers& barriers, const Memory& memory, const Block& block) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup();
  const int first = block.first_row + warp * 16 + lane / 4, row[2] = {first, first + 8};
  const auto limit_of = [&](int r) { return view.before + r / view.num_heads + 1 - block.key_begin; };
  const int limit[2] = {limit_of(row[0]), limit_of(row[1])};
  Rows rows;
#pragma unroll
  for (float& x : rows.out) x = 0;
#pragma unroll
  for (int r = 0; r < 2; ++r) rows.maximum[r] = kNoScore, rows.sum[r] = 0;
  barrier_wait(barriers.q_full, 0);
  attend(rows, barriers, memory, limit, limit_of(block.first_row), block.num_tiles, view.scale_log2, group, lane);
  if (view.is_alone) {
    store_out(rows, view, row, group, lane);
  } else {
    store_share(rows, view, block.share, row, group, lane);
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    mla_chunk_kernel(const __grid_constant__ ChunkMaps maps, const __grid_constant__ ChunkView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ Barriers barriers;
  const Memory memory{dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024};
  const Block block = own_block(view);
  if (threadIdx.x == 0) {
    barrier_init(barriers.q_full, 1);
    for (int s = 0; s < kStages; ++s)
      barrier_init(barriers.full[s], 1), barrier_init(barriers.empty[s], kConsumers / kWarpSize);
    fence_barrier_init();
  }
  __syncthreads();
  wait_for_predecessor();
  release_successor();
  if (block.num_tiles == 0) return;   // none of its rows sees these keys
  if (threadIdx.x < kConsumers) {
    take_registers();
    consume(view, barriers, memory, block);
  } else {
    give_registers();
    if (threadIdx.x == kConsumers) produce(maps, view, barriers, memory, block);
  }
}

// --- shared keys ----------------------------------------------------------------------------------------------------

struct MergeView {
  ChunkView chunk;
  int num_shares;
  int begins[kMaxShares];   // the first key of each share
};
constexpr int kMergeRows = 8;

// A warp a row.
__global__ void __launch_bounds__(kMergeRows * kWarpSize)
    mla_chunk_merge_kernel(const __grid_constant__ MergeView view) {
  constexpr int kPieces = kMlaLatent / (4 * kWarpSize);
  const ChunkView& chunk = view.chunk;
  const int lane = threadIdx.x % kWarpSize, row = blockIdx.x * kMergeRows + threadIdx.x / kWarpSize;
  wait_for_predecessor();
  release_successor();
  if (row >= chunk.num_rows) return;
  const int visible = chunk.before + row / chunk.num_heads + 1;
  float4 total[kPieces] = {};
  float maximum = kNoScore, sum = 0;
  for (int s = 0; s < view.num_shares && view.begins[s] < visible; ++s) {
    const int64_t at = static_cast<int64_t>(s) * chunk.num_rows + row;
    const float2 stats = chunk.stats[at];
    const float now = fmaxf(maximum, stats.x), before = exp2_fast(maximum - now), own = exp2_fast(stats.x - now);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const float4 x = *reinterpret_cast<const float4*>(chunk.values + at * kMlaLatent + (i * kWarpSize + lane) * 4);
      total[i].x = total[i].x * before + x.x * own, total[i].y = total[i].y * before + x.y * own;
      total[i].z = total[i].z * before + x.z * own, total[i].w = total[i].w * before + x.w * own;
    }
    sum = sum * before + stats.y * own;
    maximum = now;
  }
  const float factor = sum > 0 ? 1 / sum : 0.0f;
  Bf16* out = out_of(chunk, row);
#pragma unroll
  for (int i = 0; i < kPieces; ++i)
    *reinterpret_cast<uint2*>(out + (i * kWarpSize + lane) * 4) = {
        pack_bf16(total[i].x * factor, total[i].y * factor), pack_bf16(total[i].z * factor, total[i].w * factor)};
}

// --- host -----------------------------------------------------------------------------------------------------------

// How a chunk's keys are cut: rounds of keys that lie side by side at once, and shares of each.
struct Cut {
  int round_keys = 0, num_rounds = 0, share_keys = 0, shares_a_round = 0;
  [[nodiscard]] int num_shares() const { return num_rounds * shares_a_round; }
};

int64_t bytes_of_share(int num_rows) { return num_rows * int64_t{kMlaLatent * sizeof(float) + sizeof(float2)}; }

// Nothing fits: no rounds.
Cut cut_keys(const PromptChunk& chunk, int num_heads, int64_t workspace_bytes) {
  constexpr int kTile = Tile::kTile;
  const int num_rows = chunk.num_queries * num_heads, row_blocks = ceil_div(num_rows, kRows);
  for (int num_rounds = 1; num_rounds <= kMaxShares; ++num_rounds) {
    Cut cut{.round_keys = ceil_div(ceil_div(chunk.seq_len, num_rounds), kTile) * kTile, .num_rounds = num_rounds};
    const int wanted = std::min({num_multiprocessors() / row_blocks, cut.round_keys / kMinShareKeys,
                                 kMaxShares / num_rounds});
    cut.share_keys = ceil_div(ceil_div(cut.round_keys, kTile), std::max(1, wanted)) * kTile;
    cut.shares_a_round = ceil_div(cut.round_keys, cut.share_keys);
    const int64_t shares = cut.num_shares() == 1 ? 0 : cut.num_shares() * bytes_of_share(num_rows);
    if (int64_t{cut.round_keys} * kMlaKeyDim * 2 + shares + 1024 <= workspace_bytes) return cut;
  }
  return {};
}

void run_chunk(Stream& stream, const MlaAttentionArgs& args, int sequence, int first_token, const PromptChunk& chunk) {
  const AttentionMetadata& metadata = *args.metadata;
  const int heads = static_cast<int>(args.q.shape[1]);
  const Cut cut = cut_keys(chunk, heads, static_cast<int64_t>(metadata.workspace.num_bytes() - mla_scratch_begin()));
  CHECK(cut.num_rounds > 0, "a workspace of {} bytes for {} keys", metadata.workspace.num_bytes(), chunk.seq_len);
  auto* latents = reinterpret_cast<Bf16*>(static_cast<std::byte*>(metadata.workspace.data) + mla_scratch_begin());
  Bf16* rope_keys = latents + int64_t{cut.round_keys} * kLatentDim;
  ChunkView view{};
  view.out = static_cast<Bf16*>(args.out.data);
  view.out_token = args.out.strides[0], view.out_head = args.out.strides[1];
  view.values = reinterpret_cast<float*>(rope_keys + int64_t{cut.round_keys} * kRopeDim);
  view.first_token = first_token, view.num_rows = chunk.num_queries * heads, view.num_heads = heads;
  view.stats = reinterpret_cast<float2*>(view.values + int64_t{cut.num_shares()} * view.num_rows * kMlaLatent);
  view.before = chunk.seq_len - chunk.num_queries;
  view.share_keys = cut.share_keys, view.is_alone = cut.num_shares() == 1;
  view.scale_log2 = score_scale(args.scale, DType::kBF16);
  const auto map_of = [](const Bf16* data, int64_t rows, int64_t cols) {
    return make_tensor_map({data, DType::kBF16, rows, cols, cols}, 64);
  };
  MergeView merge{};
  allow_shared_memory(mla_chunk_kernel, kSharedBytes);
  for (int begin = 0; begin < chunk.seq_len; begin += cut.round_keys) {
    view.key_begin = begin, view.num_keys = std::min(cut.round_keys, chunk.seq_len - begin);
    view.num_shares = ceil_div(view.num_keys, cut.share_keys);
    GatherView gather{.cache = args.cache.data, .latents = latents, .rope_keys = rope_keys,
                      .pages = pages_of(metadata, 1), .num_rows = view.num_keys, .num_segments = 1};
    gather.segments[0] = {.sequence = sequence, .key_begin = begin, .num_keys = view.num_keys};
    launch_gather(stream, args.cache.dtype, gather);
    const ChunkMaps maps{.q = map_of(static_cast<const Bf16*>(args.q.data), args.q.shape[0] * heads, kMlaKeyDim),
                         .latents = map_of(latents, view.num_keys, kLatentDim),
                         .rope_keys = map_of(rope_keys, view.num_keys, kRopeDim)};
    launch_pdl(stream, mla_chunk_kernel, dim3(ceil_div(view.num_rows, kRows) * view.num_shares), dim3(kThreads),
               kSharedBytes, maps, view);
    for (int s = 0; s < view.num_shares; ++s) merge.begins[view.first_share + s] = begin + s * cut.share_keys;
    view.first_share += view.num_shares;
  }
  if (view.is_alone) return;
  merge.chunk = view, merge.num_shares = view.first_share;
  launch_pdl(stream, mla_chunk_merge_kernel, dim3(ceil_div(view.num_rows, kMergeRows)),
             dim3(kMergeRows * kWarpSize), 0, merge);
}

}  // namespace

int first_mla_chunk(const MlaAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const int heads = static_cast<int>(args.q.shape[1]);
  const bool is_dense = args.q.strides[1] == kMlaKeyDim && args.q.strides[0] == heads * kMlaKeyDim;
  const auto bytes = static_cast<int64_t>(metadata.workspace.num_bytes()) - static_cast<int64_t>(mla_scratch_begin());
  int first = metadata.num_seqs;
  if (!is_dense || bytes <= 0) return first;
  for (auto chunk = metadata.chunks.rbegin(); chunk != metadata.chunks.rend(); ++chunk, --first)
    if (chunk->num_queries < kMinChunkQueries || cut_keys(*chunk, heads, bytes).num_rounds == 0) break;
  return first;
}

void run_mla_chunks(Stream& stream, const MlaAttentionArgs& args, int first) {
  const AttentionMetadata& metadata = *args.metadata;
  for (int s = first; s < metadata.num_seqs; ++s) {
    const PromptChunk& chunk = metadata.chunks[static_cast<size_t>(s - metadata.num_decodes)];
    run_chunk(stream, args, s, first_token_of(metadata, s), chunk);
  }
}

}  // namespace gale::cuda
