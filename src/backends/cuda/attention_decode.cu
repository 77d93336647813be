// GQA attention of sequences with one query token over the paged cache, head_dim 128, bf16 or FP8 cache. Limited by memory: every
// key and value is read once for up to 16 query heads of its group (512 bytes a token and KV head in bf16, 8 kFLOP). The tiles of
// all sequences are shared out evenly over the card (device/split.cuh). In a block each warp is on its own: it copies 16 tokens
// at a time into its ring in shared memory, multiplies them on the tensor cores and keeps a running softmax; no barriers. Both
// operands are read 16 bytes a lane: which dimension or token stands at which place of a fragment is free as long as both sides
// of a product agree.
#include "backends/cuda/attention.h"
#include "backends/cuda/device/split.cuh"

namespace gale::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kBlocksPerSm = 2;
constexpr int kRows = 16;                       // query heads of a pass
constexpr int kStep = 16;                       // tokens of a warp's step
constexpr int kTile = kWarps * kStep;
constexpr int kMinTiles = 2;                    // a smaller share costs more to combine than it wins
constexpr int kRingBytes = 24 * 1024;           // a warp's; 4 of them fit sm_89's 99 KB
constexpr int kMergePitch = kHeadDim + 4;

template <class Cache>
struct Ring {
  static constexpr int kRowBytes = kHeadDim * sizeof(Cache);
  static constexpr int kChunks = kRowBytes / 16;
  static constexpr int kRowsPerCopy = kWarpSize / kChunks;
  static constexpr int kStageBytes = 2 * kStep * kRowBytes;   // keys, then values
  static constexpr int kStages = kRingBytes / kStageBytes;
  // Chunks are exchanged within a row so that lanes which read at once hit different banks.
  __device__ static int key_chunk(int row, int chunk) { return row * kRowBytes + (chunk ^ (row & 1) << 2) * 16; }
  __device__ static int value_chunk(int row, int chunk) { return row * kRowBytes + (chunk ^ (row & 7)) * 16; }
};

struct Shared {
  alignas(16) std::byte rings[kWarps][kRingBytes];   // later the warps' results, [kWarps][kRows][kMergePitch] floats
  float2 stats[kWarps][kRows];
  float weight[kWarps][kRows];
  int plan[40];
  CombineScratch<kRows> combine;
};
static_assert(sizeof(float) * kRows * kMergePitch <= kRingBytes);

struct DecodeView {
  AttentionView attention;
  Partials partials;
  int num_seqs, passes;
};

struct Running {
  float maximum[2], sum[2];          // of rows lane / 4 and lane / 4 + 8; the sum is this lane's share
  float value[kHeadDim / 8][4];
};

using Queries = uint32_t[kHeadDim / 16][4];

// The fragments of up to 16 query heads. In bf16 a lane's 16-byte chunk is two steps of four dimensions; in FP8, where a key's
// word holds four dimensions, pairs are (0, 2) and (1, 3) as widen() makes them.
template <class Cache>
__device__ void load_queries(Queries& q, const Bf16* base, int64_t pitch, int num_heads, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int head = g + half * 8;
    const bool inside = head < num_heads;
    const auto* row = reinterpret_cast<const uint4*>(base + (inside ? head : 0) * pitch);
#pragma unroll
    for (int i = 0; i < kHeadDim / 32; ++i) {
      if constexpr (sizeof(Cache) == 2) {
        const uint4 x = inside ? row[4 * i + t] : uint4{};
        q[2 * i][half] = x.x, q[2 * i][half + 2] = x.y;
        q[2 * i + 1][half] = x.z, q[2 * i + 1][half + 2] = x.w;
      } else {
        const uint4 x = inside ? row[2 * (4 * (i / 2) + t) + i % 2] : uint4{};
        const int k = 4 * (i / 2) + i % 2 * 2;
        q[k][half] = lift_pair(low_halves(x.x, x.y)), q[k][half + 2] = lift_pair(high_halves(x.x, x.y));
        q[k + 1][half] = lift_pair(low_halves(x.z, x.w)), q[k + 1][half + 2] = lift_pair(high_halves(x.z, x.w));
      }
    }
  }
}

// Copies this warp's 16 tokens of a step; `row` is lane % 16's row of the cache, or -1: zeros.
template <class Cache>
__device__ void copy_step(std::byte* stage, const void* k, const void* v, int row, int lane) {
  using R = Ring<Cache>;
#pragma unroll
  for (int i = 0; i < kStep / R::kRowsPerCopy; ++i) {
    const int r = i * R::kRowsPerCopy + lane / R::kChunks, chunk = lane % R::kChunks;
    const int from = __shfl_sync(kFullMask, row, r);
    const int64_t offset = static_cast<int64_t>(max(from, 0)) * R::kRowBytes + chunk * 16;
    const int valid = from >= 0 ? 16 : 0;
    copy_async_16(stage + R::key_chunk(r, chunk), static_cast<const std::byte*>(k) + offset, valid);
    copy_async_16(stage + kStep * R::kRowBytes + R::value_chunk(r, chunk), static_cast<const std::byte*>(v) + offset, valid);
  }
}

template <class Cache>
__device__ void multiply_keys(float (&scores)[2][4], const std::byte* keys, const Queries& q, int lane) {
  using R = Ring<Cache>;
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[j][e] = 0;
#pragma unroll
    for (int i = 0; i < R::kChunks / 4; ++i) {
      const uint4 x = load_16(keys + R::key_chunk(j * 8 + g, 4 * i + t));
      if constexpr (sizeof(Cache) == 2) {
        mma_m16n8k16(scores[j], q[2 * i], {x.x, x.y});
        mma_m16n8k16(scores[j], q[2 * i + 1], {x.z, x.w});
      } else {
        const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          uint32_t b[2];
          widen(words[e], b[0], b[1]);
          mma_m16n8k16(scores[j], q[4 * i + e], b);
        }
      }
    }
  }
}

// Column c of part n is dimension 8 n + c in bf16, 16 c + n in FP8: there a lane widens 16 dimensions of two tokens at once.
template <class Cache>
__device__ int value_dim(int n, int c) { return sizeof(Cache) == 2 ? 8 * n + c : 16 * c + n; }

template <class Cache>
__device__ void multiply_values(Running& running, const std::byte* values, const uint32_t (&p)[4], int lane) {
  using R = Ring<Cache>;
  if constexpr (sizeof(Cache) == 2) {
#pragma unroll
    for (int n = 0; n < kHeadDim / 16; ++n) {
      uint32_t r[4];
      load_matrix_x4_transposed(r, values + R::value_chunk(lane % 16, 2 * n + lane / 16));
      mma_m16n8k16(running.value[2 * n], p, {r[0], r[1]});
      mma_m16n8k16(running.value[2 * n + 1], p, {r[2], r[3]});
    }
  } else {
    const int g = lane / 4, t = lane % 4;
    const uint4 x[4] = {load_16(values + R::value_chunk(2 * t, g)), load_16(values + R::value_chunk(2 * t + 1, g)),
                        load_16(values + R::value_chunk(2 * t + 8, g)), load_16(values + R::value_chunk(2 * t + 9, g))};
    const auto word = [&](int i, int e) { return e == 0 ? x[i].x : e == 1 ? x[i].y : e == 2 ? x[i].z : x[i].w; };
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      uint32_t b[4][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        widen(low_halves(word(2 * half, e), word(2 * half + 1, e)), b[0][half], b[1][half]);
        widen(high_halves(word(2 * half, e), word(2 * half + 1, e)), b[2][half], b[3][half]);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) mma_m16n8k16(running.value[4 * e + n], p, b[n]);
    }
  }
}

// One step of the running softmax: masks tokens from `num_valid` on, returns the probabilities as an operand.
template <class Cache>
__device__ void soften(Running& running, float (&scores)[2][4], uint32_t (&p)[4], float scale_log2, int num_valid, int lane) {
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (j * 8 + lane % 4 * 2 + e % 2 >= num_valid) scores[j][e] = -INFINITY;
  bool is_rescaled = false;
  float rescale[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float top = fmaxf(fmaxf(scores[0][2 * r], scores[0][2 * r + 1]), fmaxf(scores[1][2 * r], scores[1][2 * r + 1]));
    const float maximum = fmaxf(running.maximum[r], quad_max(top) * scale_log2);
    rescale[r] = exp2f(running.maximum[r] - maximum);
    is_rescaled |= rescale[r] != 1.0f;
    running.maximum[r] = maximum;
    running.sum[r] *= rescale[r];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float a = exp2f(scores[j][2 * r] * scale_log2 - maximum + kLift<Cache>);
      const float b = exp2f(scores[j][2 * r + 1] * scale_log2 - maximum + kLift<Cache>);
      running.sum[r] += a + b;
      p[2 * j + r] = pack_bf16(a, b);
    }
  }
  if (__any_sync(kFullMask, is_rescaled)) {
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) running.value[n][e] *= rescale[e / 2];
  }
}

// What a block works on next: some tiles of one KV head (and pass of its group) of one sequence.
struct Piece { int sequence, head, pass, first_tile, num_tiles, visible; };

template <class Cache>
__device__ void attend(Running& running, const DecodeView& view, const Piece& piece, std::byte* ring, int warp, int lane) {
  using R = Ring<Cache>;
  const AttentionView& a = view.attention;
#pragma unroll
  for (int r = 0; r < 2; ++r) running.maximum[r] = -INFINITY, running.sum[r] = 0;
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) running.value[n][e] = 0;
  const int first = piece.first_tile * kTile + warp * kStep;
  const int num_steps = min(piece.num_tiles, (piece.visible - first + kTile - 1) / kTile);   // none if it begins beyond the end
  const auto row_of = [&](int step) {
    const int position = first + step * kTile + lane % kStep;
    return step < num_steps && position < piece.visible ? a.pages.row(piece.sequence, piece.head, position) : -1;
  };
  int row = row_of(0);
#pragma unroll 1
  for (int s = 0; s < R::kStages - 1; ++s) {
    // What earlier steps left in the cache may be read at once; the last token is the predecessor's work.
    if (s < num_steps && first + s * kTile + kStep >= piece.visible) wait_for_predecessor();
    if (s < num_steps) copy_step<Cache>(ring + s * R::kStageBytes, a.k, a.v, row, lane);
    commit_copies();
    row = row_of(s + 1);
  }
  wait_for_predecessor();
  release_successor();
  const int head = piece.head * a.group + piece.pass * kRows;
  Queries q;
  load_queries<Cache>(q, a.q + piece.sequence * a.q_token + head * a.q_head, a.q_head, a.group - piece.pass * kRows, lane);
  int stage = 0, next_stage = R::kStages - 1;
#pragma unroll 1
  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies<R::kStages - 2>();
    __syncwarp();   // the copies of all lanes are there, and all have read what is overwritten now
    if (step + R::kStages - 1 < num_steps) copy_step<Cache>(ring + next_stage * R::kStageBytes, a.k, a.v, row, lane);
    commit_copies();
    row = row_of(step + R::kStages);
    const std::byte* at = ring + stage * R::kStageBytes;
    float scores[2][4];
    uint32_t p[4];
    multiply_keys<Cache>(scores, at, q, lane);
    soften<Cache>(running, scores, p, a.scale_log2, piece.visible - (first + step * kTile), lane);
    multiply_values<Cache>(running, at + kStep * R::kRowBytes, p, lane);
    stage = stage + 1 == R::kStages ? 0 : stage + 1;
    next_stage = next_stage + 1 == R::kStages ? 0 : next_stage + 1;
  }
  wait_for_copies<0>();
}

// The warps' results side by side in shared memory, with the weight each has in the whole. `stats` gets maximum and sum.
template <class Cache>
__device__ void merge_warps(Shared& shared, const Running& running, float2& stats, int warp, int lane) {
  const int g = lane / 4, t = lane % 4;
  auto* values = reinterpret_cast<float*>(shared.rings[warp]);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(running.sum[r]);
    if (t == 0) shared.stats[warp][g + 8 * r] = {running.maximum[r], sum};
  }
  __syncwarp();   // the warp has left its ring
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      values[(g + e / 2 * 8) * kMergePitch + value_dim<Cache>(n, 2 * t + e % 2)] = running.value[n][e];
  __syncthreads();
  if (threadIdx.x < kRows) {
    float maximum = -INFINITY, sum = 0;
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, shared.stats[w][threadIdx.x].x);
    for (int w = 0; w < kWarps; ++w) {
      const float2 own = shared.stats[w][threadIdx.x];
      const float weight = own.y > 0 ? exp2f(own.x - maximum) : 0.0f;
      shared.weight[w][threadIdx.x] = weight;
      sum += own.y * weight;
    }
    stats = {maximum, sum};
  }
  __syncthreads();
}

template <class Cache>
__device__ void finish(Shared& shared, const Running& running, const DecodeView& view, const Piece& piece, const Pieces& pieces,
                       int own_piece, int warp, int lane) {
  const AttentionView& a = view.attention;
  const int num_rows = min(kRows, a.group - piece.pass * kRows);
  Bf16* out = a.out + piece.sequence * a.out_token + (piece.head * a.group + piece.pass * kRows) * a.out_head;
  const auto emit = [&](int r, int column, const float4& x, float sum) {
    const float factor = sum > 0 ? kLiftFactor<Cache> * (kLiftFactor<Cache> / sum) : 0.0f;   // no keys: a padded row
    const uint2 packed = {pack_bf16(x.x * factor, x.y * factor), pack_bf16(x.z * factor, x.w * factor)};
    *reinterpret_cast<uint2*>(out + r * a.out_head + column) = packed;
  };
  float2* stats = &shared.combine.stats[threadIdx.x % kRows];
  merge_warps<Cache>(shared, running, *stats, warp, lane);
  const bool is_whole = pieces.count == 1;
  const int slot = pieces.slot(own_piece);
  for (int at = threadIdx.x; at < num_rows * (kHeadDim / 4); at += kThreads) {
    const int r = at / (kHeadDim / 4), column = at % (kHeadDim / 4) * 4;
    float4 total = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float4 x = *reinterpret_cast<const float4*>(reinterpret_cast<const float*>(shared.rings[w]) + r * kMergePitch + column);
      const float weight = shared.weight[w][r];
      total.x += x.x * weight, total.y += x.y * weight, total.z += x.z * weight, total.w += x.w * weight;
    }
    if (is_whole) {
      emit(r, column, total, shared.combine.stats[r].y);
    } else {
      const auto& p = view.partials;
      *reinterpret_cast<float4*>(p.values + (static_cast<int64_t>(slot) * kRows + r) * kHeadDim + column) = total;
      if (column == 0) p.stats[slot * kRows + r] = shared.combine.stats[r];
    }
  }
  if (!is_whole) combine_if_last<kRows, kHeadDim, kThreads>(view.partials, pieces, own_piece, num_rows, shared.combine, emit);
  __syncthreads();   // the next piece uses the same memory
}

template <class Cache>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm) paged_decode_kernel(DecodeView view) {
  extern __shared__ __align__(16) std::byte memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const AttentionView& a = view.attention;
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int units = a.pages.num_heads * view.passes;
  Share share = find_share<kThreads>(view.num_seqs, kMinTiles, shared.plan,
                                     [&](int s) { return units * tiles_of(a.seq_lens[s], kTile); });
  for (int tile = share.begin; tile < share.end;) {
    Piece piece;
    piece.sequence = share.sequence;
    piece.visible = a.seq_lens[piece.sequence];
    const int tiles = tiles_of(piece.visible, kTile), inside = tile - share.sequence_begin, unit = inside / tiles;
    piece.head = unit / view.passes, piece.pass = unit % view.passes;
    piece.first_tile = inside % tiles;
    piece.num_tiles = min(tiles - piece.first_tile, share.end - tile);
    const int item = share.sequence_begin + unit * tiles;
    const Pieces pieces(item, item + tiles, share.per_block);
    Running running;
    attend<Cache>(running, view, piece, shared.rings[warp], warp, lane);
    finish<Cache>(shared, running, view, piece, pieces, static_cast<int>(blockIdx.x) - pieces.first_block, warp, lane);
    tile += piece.num_tiles;
    if (tile == share.sequence_begin + units * tiles) share.sequence_begin = tile, ++share.sequence;
  }
}

template <class Cache>
void launch_typed(Stream& stream, const DecodeView& view, int num_blocks) {
  allow_shared_memory(paged_decode_kernel<Cache>, sizeof(Shared));
  launch_pdl(stream, paged_decode_kernel<Cache>, dim3(num_blocks), dim3(kThreads), sizeof(Shared), view);
}

}  // namespace

size_t decode_workspace_bytes() { return partial_bytes(kBlocksPerSm * num_multiprocessors(), kRows, kHeadDim); }

void launch_decode(Stream& stream, DType cache, const AttentionView& attention, int num_seqs, const Tensor& workspace) {
  const int num_blocks = kBlocksPerSm * num_multiprocessors();
  const DecodeView view{attention, partials_of(workspace, num_blocks, kRows, kHeadDim), num_seqs, ceil_div(attention.group, kRows)};
  if (cache == DType::kBF16) {
    launch_typed<Bf16>(stream, view, num_blocks);
  } else {
    launch_typed<Fp8>(stream, view, num_blocks);
  }
}

}  // namespace gale::cuda
