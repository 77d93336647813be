// GQA attention of sequences with several query tokens over the paged cache (with or without a cached prefix), head_dim 128, bf16
// or FP8 cache. A block owns 128 rows: query tokens times the query heads of one KV head, so that a key serves the whole group.
// Tiles of 64 keys pass through shared memory, the next one on its way; a warp holds 32 rows, their scores and results in
// registers. Limited by the tensor cores and by reading operands from shared memory (a warp reads every tile whole). FP8 tiles are
// widened to bf16 once for all warps; dimensions then stand in the order 0 2 1 3, in the queries too.
#include "backends/cuda/attention.h"

namespace gale::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kWarpRows = 32;
constexpr int kRows = kWarps * kWarpRows;
constexpr int kTile = 64;                      // keys
constexpr int kRowBytes = kHeadDim * 2;        // of the bf16 operands in shared memory
constexpr int kChunks = kRowBytes / 16;
constexpr int kTileBytes = kTile * kRowBytes;

// 16-byte chunk `chunk` of a row; exchanged so that 8 rows' same chunk lies in different banks.
__device__ int chunk_at(int row, int chunk) { return row * kRowBytes + (chunk ^ (row & 7)) * 16; }

struct Shared {
  alignas(16) std::byte q[kRows * kRowBytes];
  alignas(16) std::byte operands[2][2 * kTileBytes];   // keys, values. bf16: two stages; FP8: one widened tile, two raw stages
};

template <class Cache>
struct Stages {
  static constexpr bool kIsFp8 = sizeof(Cache) == 1;
  __device__ static std::byte* raw(Shared& shared, int i) {
    return kIsFp8 ? shared.operands[1] + i % 2 * kTileBytes : shared.operands[i % 2];
  }
  __device__ static const std::byte* ready(const Shared& shared, int i) { return shared.operands[kIsFp8 ? 0 : i % 2]; }
};

struct RowBlock {
  int sequence, head;
  int first_token;             // of the sequence, in the batch
  int first_row, num_rows;     // among query tokens x group; all of the sequence's
  int before;                  // keys in the cache before the sequence's first query token
};

template <class Cache>
__device__ void load_queries(Shared& shared, const AttentionView& view, const RowBlock& block) {
  for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
    const int r = i / kChunks, chunk = i % kChunks, row = block.first_row + r;
    uint4 x{};
    if (row < block.num_rows) {
      const int token = block.first_token + row / view.group, head = block.head * view.group + row % view.group;
      x = load_16(view.q + token * view.q_token + head * view.q_head + chunk * 8);
    }
    if constexpr (sizeof(Cache) == 1) {
      x = {lift_pair(low_halves(x.x, x.y)), lift_pair(high_halves(x.x, x.y)), lift_pair(low_halves(x.z, x.w)),
           lift_pair(high_halves(x.z, x.w))};
    }
    *reinterpret_cast<uint4*>(shared.q + chunk_at(r, chunk)) = x;
  }
}

// Starts the copy of tile i. Two threads a key: each copies half of its row, keys and values.
template <class Cache>
__device__ void copy_tile(std::byte* to, const AttentionView& view, int row) {
  constexpr int kCacheRow = kHeadDim * sizeof(Cache), kParts = kCacheRow / 32;
  const int r = threadIdx.x / 2, half = threadIdx.x % 2;
  const int64_t offset = static_cast<int64_t>(max(row, 0)) * kCacheRow;
  const int valid = row >= 0 ? 16 : 0;
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    const int chunk = 2 * i + half;
    const int at = sizeof(Cache) == 2 ? chunk_at(r, chunk) : r * kCacheRow + (chunk ^ (r & 7)) * 16;
    copy_async_16(to + at, static_cast<const std::byte*>(view.k) + offset + chunk * 16, valid);
    copy_async_16(to + kTile * kCacheRow + at, static_cast<const std::byte*>(view.v) + offset + chunk * 16, valid);
  }
}

__device__ void widen_tile(std::byte* to, const std::byte* from) {
  constexpr int kRawChunks = kHeadDim / 16;
#pragma unroll 4
  for (int i = threadIdx.x; i < 2 * kTile * kRawChunks; i += kThreads) {   // keys, then values: rows 0 … 2 kTile - 1
    const int r = i / kRawChunks, chunk = i % kRawChunks;
    const uint4 x = load_16(from + r * kHeadDim + (chunk ^ (r & 7)) * 16);
    uint4 low, high;
    widen(x.x, low.x, low.y), widen(x.y, low.z, low.w), widen(x.z, high.x, high.y), widen(x.w, high.z, high.w);
    *reinterpret_cast<uint4*>(to + chunk_at(r, 2 * chunk)) = low;
    *reinterpret_cast<uint4*>(to + chunk_at(r, 2 * chunk + 1)) = high;
  }
}

struct Running {
  float maximum[4], sum[4];                 // rows g, g + 8, g + 16, g + 24 of the warp
  float value[2][kHeadDim / 8][4];
};
using Scores = float[2][kTile / 8][4];

__device__ void multiply_keys(Scores& scores, const std::byte* q, const std::byte* keys, int warp, int lane) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[m][n][e] = 0;
  const auto load = [&](uint32_t (&b)[4], int k, int n) {
    load_matrix_x4(b, keys + chunk_at(n * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
  };
  uint32_t b[2][4];   // the next operand is loaded before this one's products
  load(b[0], 0, 0);
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    uint32_t a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) load_matrix_x4(a[m], q + chunk_at(warp * kWarpRows + m * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int n = 0; n < kTile / 16; ++n) {
      const int next = k * (kTile / 16) + n + 1;
      if (next < kHeadDim / 16 * (kTile / 16)) load(b[next % 2], next / (kTile / 16), next % (kTile / 16));
      const uint32_t (&now)[4] = b[(next - 1) % 2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_m16n8k16(scores[m][2 * n], a[m], {now[0], now[1]});
        mma_m16n8k16(scores[m][2 * n + 1], a[m], {now[2], now[3]});
      }
    }
  }
}

// Hides the keys that come after a row's query token; the tile begins with key `first_key`. A row beyond the last hides some, too.
__device__ void hide_future(Scores& scores, const AttentionView& view, const RowBlock& block, int first_key, int warp, int lane) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int row = block.first_row + warp * kWarpRows + r * 8 + lane / 4;
    const int visible = block.before + row / view.group + 1 - first_key;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (n * 8 + lane % 4 * 2 + e >= visible) scores[r / 2][n][r % 2 * 2 + e] = -INFINITY;
  }
}

// Scores become probabilities.
template <class Cache>
__device__ void soften(Running& running, Scores& scores, float scale_log2) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    float top = -INFINITY;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) top = fmaxf(top, fmaxf(scores[r / 2][n][r % 2 * 2], scores[r / 2][n][r % 2 * 2 + 1]));
    const float maximum = fmaxf(running.maximum[r], quad_max(top) * scale_log2);
    const float rescale = exp2f(running.maximum[r] - maximum), shift = maximum - kLift<Cache>;
    running.maximum[r] = maximum;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = scores[r / 2][n][r % 2 * 2 + e];
        x = exp2f(x * scale_log2 - shift);
        sum += x;
      }
    }
    running.sum[r] = running.sum[r] * rescale + sum;
    if (__any_sync(kFullMask, rescale != 1.0f)) {
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) running.value[r / 2][n][r % 2 * 2 + e] *= rescale;
    }
  }
}

__device__ void multiply_values(Running& running, const Scores& p, const std::byte* values, int lane) {
  constexpr int kParts = kHeadDim / 16;
  const auto load = [&](uint32_t (&b)[4], int k, int n) {
    load_matrix_x4_transposed(b, values + chunk_at(k * 16 + lane % 16, 2 * n + lane / 16));
  };
  uint32_t b[2][4];
  load(b[0], 0, 0);
#pragma unroll
  for (int k = 0; k < kTile / 16; ++k) {
    uint32_t a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) a[m][i] = pack_bf16(p[m][2 * k + i / 2][i % 2 * 2], p[m][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int n = 0; n < kParts; ++n) {
      const int next = k * kParts + n + 1;
      if (next < kTile / 16 * kParts) load(b[next % 2], next / kParts, next % kParts);
      const uint32_t (&now)[4] = b[(next - 1) % 2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_m16n8k16(running.value[m][2 * n], a[m], {now[0], now[1]});
        mma_m16n8k16(running.value[m][2 * n + 1], a[m], {now[2], now[3]});
      }
    }
  }
}

template <class Cache>
__device__ void store(const Running& running, const AttentionView& view, const RowBlock& block, int warp, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const float sum = quad_sum(running.sum[r]);
    const float factor = sum > 0 ? kLiftFactor<Cache> * (kLiftFactor<Cache> / sum) : 0.0f;
    const int row = block.first_row + warp * kWarpRows + r * 8 + g;
    const bool inside = row < block.num_rows;
    const int token = block.first_token + row / view.group, head = block.head * view.group + row % view.group;
    Bf16* out = view.out + token * view.out_token + head * view.out_head;
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      uint32_t pair = pack_bf16(running.value[r / 2][n][r % 2 * 2] * factor, running.value[r / 2][n][r % 2 * 2 + 1] * factor);
      if constexpr (sizeof(Cache) == 1) {   // an even lane holds dimensions 0 and 2 of four, its neighbour 1 and 3
        const uint32_t other = __shfl_xor_sync(kFullMask, pair, 1);
        pair = t % 2 == 0 ? low_halves(pair, other) : high_halves(other, pair);
      }
      if (inside) *reinterpret_cast<uint32_t*>(out + n * 8 + 2 * t) = pair;
    }
  }
}

template <class Cache>
__device__ void attend(Running& running, Shared& shared, const AttentionView& view, const RowBlock& block, int warp, int lane) {
  using S = Stages<Cache>;
#pragma unroll
  for (int r = 0; r < 4; ++r) running.maximum[r] = -INFINITY, running.sum[r] = 0;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) running.value[m][n][e] = 0;
  const int last = block.before + (min(block.first_row + kRows, block.num_rows) - 1) / view.group + 1;   // keys the last row sees
  const int all_see = block.before + block.first_row / view.group + 1;
  const int num_tiles = (last + kTile - 1) / kTile;
  const auto row_of = [&](int i) {
    const int position = i * kTile + static_cast<int>(threadIdx.x) / 2;
    return i < num_tiles && position < last ? view.pages.row(block.sequence, block.head, position) : -1;
  };
  const auto start = [&](int i, int row) {
    if (i < num_tiles) copy_tile<Cache>(S::raw(shared, i), view, row);
    commit_copies();
  };
  start(0, row_of(0));
  int row = row_of(1);
  if (S::kIsFp8) start(1, row), row = row_of(2);
  load_queries<Cache>(shared, view, block);
#pragma unroll 1
  for (int i = 0; i < num_tiles; ++i) {
    wait_for_copies<S::kIsFp8 ? 1 : 0>();
    __syncthreads();   // tile i is there, and everybody has left the tile before
    if constexpr (S::kIsFp8) {
      widen_tile(shared.operands[0], S::raw(shared, i));
      __syncthreads();
    }
    start(i + (S::kIsFp8 ? 2 : 1), row);
    row = row_of(i + (S::kIsFp8 ? 3 : 2));
    const std::byte* keys = S::ready(shared, i);
    Scores scores;
    multiply_keys(scores, shared.q, keys, warp, lane);
    if ((i + 1) * kTile > all_see) hide_future(scores, view, block, i * kTile, warp, lane);
    soften<Cache>(running, scores, view.scale_log2);
    multiply_values(running, scores, keys + kTileBytes, lane);
  }
  wait_for_copies<0>();
}

template <class Cache>
__global__ void __launch_bounds__(kThreads, 2) paged_prefill_kernel(AttentionView view, int first_sequence) {
  extern __shared__ __align__(16) std::byte memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  RowBlock block;
  block.sequence = first_sequence + blockIdx.z, block.head = blockIdx.y;
  block.first_token = view.query_start_loc[block.sequence];
  const int queries = view.query_start_loc[block.sequence + 1] - block.first_token;
  block.num_rows = queries * view.group;
  block.before = view.seq_lens[block.sequence] - queries;
  const int num_blocks = (block.num_rows + kRows - 1) / kRows;
  if (static_cast<int>(blockIdx.x) >= num_blocks) return;
  block.first_row = (num_blocks - 1 - static_cast<int>(blockIdx.x)) * kRows;   // those with most keys begin first
  wait_for_predecessor();
  release_successor();
  Running running;
  attend<Cache>(running, shared, view, block, warp, lane);
  store<Cache>(running, view, block, warp, lane);
}

template <class Cache>
void launch_typed(Stream& stream, const AttentionView& view, int first_sequence, dim3 grid) {
  allow_shared_memory(paged_prefill_kernel<Cache>, sizeof(Shared));
  launch_pdl(stream, paged_prefill_kernel<Cache>, grid, dim3(kThreads), sizeof(Shared), view, first_sequence);
}

}  // namespace

void launch_prefill(Stream& stream, DType cache, const AttentionView& view, int first_sequence, int num_seqs, int max_query_len) {
  const dim3 grid(ceil_div(int64_t{max_query_len} * view.group, kRows), view.pages.num_heads, num_seqs - first_sequence);
  if (cache == DType::kBF16) {
    launch_typed<Bf16>(stream, view, first_sequence, grid);
  } else {
    launch_typed<Fp8>(stream, view, first_sequence, grid);
  }
}

}  // namespace gale::cuda
