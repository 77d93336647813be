// GQA attention of sequences with one query token over the paged cache, head_dim 128, bf16 or FP8 cache. Limited by memory: every
// key and value is read once for up to 16 query heads of its group (512 bytes a token and KV head in bf16, 8 kFLOP). The tiles of
// all sequences are shared out evenly over the card (device/split.cuh). In a block each warp is on its own: it copies 16 tokens
// at a time into its ring in shared memory, multiplies them on the tensor cores and keeps a running softmax; no barriers. Copies
// run ahead into the next piece of work while the warps' results of this one are merged. Both operands are read 16 bytes a lane:
// which dimension or token stands at which place of a fragment is free as long as both sides of a product agree.
#include "backends/cuda/attention.h"
#include "backends/cuda/device/half.cuh"
#include "backends/cuda/device/split.cuh"

namespace gale::cuda {
namespace {

constexpr int kRows = 16;                       // query heads of a pass
constexpr int kMergeColumns = 32;               // of the results that are merged at once
constexpr int kMergePitch = kMergeColumns + 4;

// kWarps and the bytes of a warp's ring: what fills the shared memory of a Hopper card, or fits the 99 KB of sm_89.
template <class Cache_, int kWarps_, int kRingBytes_>
struct Config {
  using Cache = Cache_;
  static constexpr int kWarps = kWarps_, kThreads = kWarps * kWarpSize, kRingBytes = kRingBytes_;
  // Tokens of a warp's step. In FP8 arithmetic takes as long as memory: what a step costs whatever its tokens is shared
  // by more of them.
  static constexpr int kStep = sizeof(Cache) == 1 ? 32 : 16;
  static constexpr int kParts = kStep / 8;
  static constexpr int kTile = kWarps * kStep;
  static constexpr int kMinTiles = (128 + kTile - 1) / kTile;   // a smaller share costs more to combine than it wins
  static constexpr int kSlackTiles = 256 / kTile;               // what a piece or two less are worth
  static constexpr int kRowBytes = kHeadDim * sizeof(Cache);
  static constexpr int kChunks = kRowBytes / 16;
  static constexpr int kRowsPerCopy = kWarpSize / kChunks;
  static constexpr int kStageBytes = 2 * kStep * kRowBytes;   // keys, then values
  static constexpr int kStages = kRingBytes / kStageBytes;
  // Chunks are exchanged within a row so that lanes which read at once hit different banks.
  __device__ static int key_chunk(int row, int chunk) { return row * kRowBytes + (chunk ^ (row & 1) << 2) * 16; }
  __device__ static int value_chunk(int row, int chunk) { return row * kRowBytes + (chunk ^ (row & 7)) * 16; }
};
// One block an SM, for few sequences. In FP8 two steps are enough, and a smaller block finds room beside one of the
// product before it.
template <class Cache>
using Large = Config<Cache, 8, sizeof(Cache) == 1 ? 16 * 1024 : 24 * 1024>;
// Two blocks an SM, for many: one multiplies while the other merges, and the last tile of a sequence is smaller.
template <class Cache>
using Paired = Config<Cache, 4, 24 * 1024>;
template <class Cache>
using Small = Config<Cache, 4, 16 * 1024>;

template <class C>
struct Shared {
  alignas(16) std::byte rings[C::kWarps][C::kRingBytes];
  alignas(16) float values[C::kWarps][kRows][kMergePitch];   // some columns of the warps' results
  float2 stats[C::kWarps][kRows];
  float weight[C::kWarps][kRows];
  int plan[kShareOfItemsInts];
  CombineScratch<kRows> combine;
};
static_assert(sizeof(Shared<Large<Bf16>>) <= 227 * 1024 && sizeof(Shared<Small<Bf16>>) <= 99 * 1024);
static_assert(2 * (sizeof(Shared<Paired<Bf16>>) + 1024) <= 228 * 1024);

struct DecodeView {
  AttentionView attention;
  Partials partials;
  int num_seqs, passes;
};

// What a block works on next: some tiles of one KV head (and pass of its group) of one sequence.
struct Piece {
  int sequence, head, pass, visible;
  int first_tile, num_tiles;
  int item_begin, item_end;       // of all its tiles, in the order of all
};

// The way through a block's share.
template <class C>
struct Cursor {
  int tile, end;                  // next tile
  int sequence, sequence_begin;   // of that tile
  int fixed_pitch;                // of Share

  __device__ bool next(Piece& piece, const DecodeView& view) {
    const int units = view.attention.pages.num_heads * view.passes;
    while (tile < end) {
      piece.sequence = sequence, piece.visible = view.attention.seq_lens[sequence];
      const int tiles = tiles_of(piece.visible, C::kTile), pitch = fixed_pitch > 0 ? fixed_pitch : tiles;
      const int inside = tile - sequence_begin, unit = inside / pitch;
      piece.head = unit / view.passes, piece.pass = unit % view.passes;
      piece.first_tile = inside % pitch, piece.num_tiles = min(tiles - piece.first_tile, end - tile);
      piece.item_begin = tile - piece.first_tile, piece.item_end = piece.item_begin + tiles;
      tile += max(piece.num_tiles, 0);
      if (tile >= piece.item_end) tile = piece.item_begin + pitch;
      if (tile == sequence_begin + units * pitch) sequence_begin = tile, ++sequence;
      if (piece.num_tiles > 0) return true;
    }
    return false;
  }
};

// Steps a warp has in a piece: none where it would begin beyond the end.
template <class C>
__device__ int num_steps(const Piece& piece, int warp) {
  const int first = piece.first_tile * C::kTile + warp * C::kStep;
  return min(piece.num_tiles, (piece.visible - first + C::kTile - 1) / C::kTile);
}

struct Running {
  float maximum[2], sum[2];          // of rows lane / 4 and lane / 4 + 8; the sum is this lane's share
  float limit[2];                    // the largest score for which the maximum need not change (kMaxExcess)
  float value[kHeadDim / 8][4];
};

using Queries = uint32_t[kHeadDim / 16][4];

// Operands are bf16, or fp16 with an FP8 cache.
template <class Cache>
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (sizeof(Cache) == 2) mma_m16n8k16(d, a, b); else mma_m16n8k16_half(d, a, b);
}

// The fragments of up to 16 query heads. In bf16 a lane's 16-byte chunk is two steps of four dimensions; in FP8 a key's
// word holds the four dimensions of a step.
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
        q[k][half] = half_of_bf16(x.x), q[k][half + 2] = half_of_bf16(x.y);
        q[k + 1][half] = half_of_bf16(x.z), q[k + 1][half + 2] = half_of_bf16(x.w);
      }
    }
  }
}

// Copies this warp's tokens of a step; `row` is lane % kStep's row of the cache, or -1: zeros.
template <class C>
__device__ void copy_step(std::byte* stage, const void* k, const void* v, int row, int lane) {
#pragma unroll
  for (int i = 0; i < C::kStep / C::kRowsPerCopy; ++i) {
    const int r = i * C::kRowsPerCopy + lane / C::kChunks, chunk = lane % C::kChunks;
    const int from = __shfl_sync(kFullMask, row, r);
    const int64_t offset = static_cast<int64_t>(max(from, 0)) * C::kRowBytes + chunk * 16;
    const int valid = from >= 0 ? 16 : 0;
    copy_async_16(stage + C::key_chunk(r, chunk), static_cast<const std::byte*>(k) + offset, valid);
    copy_async_16(stage + C::kStep * C::kRowBytes + C::value_chunk(r, chunk), static_cast<const std::byte*>(v) + offset, valid);
  }
}

template <class C>
__device__ void multiply_keys(float (&scores)[C::kParts][4], const std::byte* keys, const Queries& q, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int j = 0; j < C::kParts; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[j][e] = 0;
#pragma unroll
  for (int i = 0; i < C::kChunks / 4; ++i) {
#pragma unroll
    for (int j = 0; j < C::kParts; ++j) {
      const uint4 x = load_16(keys + C::key_chunk(j * 8 + g, 4 * i + t));
      if constexpr (sizeof(typename C::Cache) == 2) {
        mma_m16n8k16(scores[j], q[2 * i], {x.x, x.y});
        mma_m16n8k16(scores[j], q[2 * i + 1], {x.z, x.w});
      } else {
        const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          uint32_t b[2];
          widen_to_half(words[e], b[0], b[1]);
          multiply<typename C::Cache>(scores[j], q[4 * i + e], b);
        }
      }
    }
  }
}

// Column c of part n is dimension 8 n + c in bf16, 16 c + n in FP8: there a lane widens 16 dimensions of two tokens at once.
template <class Cache>
__device__ int value_dim(int n, int c) { return sizeof(Cache) == 2 ? 8 * n + c : 16 * c + n; }

// Of 16 tokens.
template <class C>
__device__ void multiply_values(Running& running, const std::byte* values, const uint32_t (&p)[4], int lane) {
  if constexpr (sizeof(typename C::Cache) == 2) {
#pragma unroll
    for (int n = 0; n < kHeadDim / 16; ++n) {
      uint32_t r[4];
      load_matrix_x4_transposed(r, values + C::value_chunk(lane % 16, 2 * n + lane / 16));
      mma_m16n8k16(running.value[2 * n], p, {r[0], r[1]});
      mma_m16n8k16(running.value[2 * n + 1], p, {r[2], r[3]});
    }
  } else {
    const int g = lane / 4, t = lane % 4;
    const uint4 x[4] = {load_16(values + C::value_chunk(2 * t, g)), load_16(values + C::value_chunk(2 * t + 1, g)),
                        load_16(values + C::value_chunk(2 * t + 8, g)), load_16(values + C::value_chunk(2 * t + 9, g))};
    const auto word = [&](int i, int e) { return e == 0 ? x[i].x : e == 1 ? x[i].y : e == 2 ? x[i].z : x[i].w; };
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      uint32_t b[4][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint32_t first = word(2 * half, e), second = word(2 * half + 1, e);   // paired: tokens side by side
        widen_to_half(__byte_perm(first, second, 0x5140), b[0][half], b[1][half]);
        widen_to_half(__byte_perm(first, second, 0x7362), b[2][half], b[3][half]);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) multiply<typename C::Cache>(running.value[4 * e + n], p, b[n]);
    }
  }
}

// top: of this lane's scores of each row.
__device__ void raise_maxima(Running& running, const float (&top)[2], float scale_log2) {
  float rescale[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float maximum = fmaxf(running.maximum[r], quad_max(top[r]) * scale_log2);
    rescale[r] = exp2_fast(running.maximum[r] - maximum);
    running.maximum[r] = maximum, running.limit[r] = __fdividef(maximum + kMaxExcess, scale_log2);
    running.sum[r] *= rescale[r];
  }
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) running.value[n][e] *= rescale[e / 2];
}

// One step of the running softmax: masks tokens from `num_valid` on, returns the probabilities as operands.
template <class C>
__device__ void soften(Running& running, float (&scores)[C::kParts][4], uint32_t (&p)[C::kParts / 2][4],
                       float scale_log2, int num_valid, int lane) {
  if (num_valid < C::kStep) {
#pragma unroll
    for (int j = 0; j < C::kParts; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (j * 8 + lane % 4 * 2 + e % 2 >= num_valid) scores[j][e] = -INFINITY;
  }
  float top[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    top[r] = scores[0][2 * r];
#pragma unroll
    for (int j = 0; j < C::kParts; ++j) top[r] = fmaxf(top[r], fmaxf(scores[j][2 * r], scores[j][2 * r + 1]));
  }
  if (__any_sync(kFullMask, top[0] > running.limit[0] || top[1] > running.limit[1]))
    raise_maxima(running, top, scale_log2);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float maximum = running.maximum[r];
#pragma unroll
    for (int j = 0; j < C::kParts; ++j) {
      const float a = exp2_fast(fmaf(scores[j][2 * r], scale_log2, -maximum));
      const float b = exp2_fast(fmaf(scores[j][2 * r + 1], scale_log2, -maximum));
      uint32_t& pair = p[j / 2][2 * (j % 2) + r];
      if constexpr (sizeof(typename C::Cache) == 2) {
        pair = pack_bf16(a, b);
        const float2 taken = floats_of_bf16(pair);   // what is lost in rounding is lost in the sum, too
        running.sum[r] += taken.x + taken.y;
      } else {
        pair = pack_half(a, b);
        running.sum[r] += a + b;
      }
    }
  }
}

// Copies what the warp will need, a step at a time and some steps ahead, through all pieces of the block's share.
template <class C>
struct Producer {
  Cursor<C> cursor;
  Piece piece{};
  int step = -1, steps = 0;
  int row = -1;                   // lane % kStep's row of the cache in this step, or -1

  __device__ Producer(const Cursor<C>& cursor, const DecodeView& view, int warp, int lane) : cursor(cursor) { advance(view, warp, lane); }
  [[nodiscard]] __device__ bool is_done() const { return step >= steps; }
  __device__ int first_position(int warp) const { return (piece.first_tile + step) * C::kTile + warp * C::kStep; }
  // May only what earlier steps wrote be read here?
  [[nodiscard]] __device__ bool is_old(int warp) const { return first_position(warp) + C::kStep < piece.visible; }
  __device__ void advance(const DecodeView& view, int warp, int lane) {
    ++step;
    while (step >= steps) {
      if (!cursor.next(piece, view)) return;
      step = 0, steps = num_steps<C>(piece, warp);
    }
    const int position = first_position(warp) + lane % C::kStep;
    row = position < piece.visible ? view.attention.pages.row(piece.sequence, piece.head, position) : -1;
  }
  __device__ void issue(std::byte* stage, const DecodeView& view, int warp, int lane) {
    if (!is_done()) {
      copy_step<C>(stage, view.attention.k, view.attention.v, row, lane);
      advance(view, warp, lane);
    }
    commit_copies();
  }
};

// The place in the ring of the step that is multiplied next.
template <class C>
struct RingPosition {
  int stage = 0;
  __device__ void advance() { stage = stage + 1 == C::kStages ? 0 : stage + 1; }
  [[nodiscard]] __device__ int free() const { return stage == 0 ? C::kStages - 1 : stage - 1; }   // the one before
};

template <class C>
__device__ void attend(Running& running, const DecodeView& view, const Piece& piece, Producer<C>& producer, RingPosition<C>& position,
                       std::byte* ring, int warp, int lane) {
  const AttentionView& a = view.attention;
#pragma unroll
  for (int r = 0; r < 2; ++r) running.maximum[r] = running.limit[r] = -INFINITY, running.sum[r] = 0;
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) running.value[n][e] = 0;
  const int head = piece.head * a.group + piece.pass * kRows, first = piece.first_tile * C::kTile + warp * C::kStep;
  Queries q;
  load_queries<typename C::Cache>(q, a.q + piece.sequence * a.q_token + head * a.q_head, a.q_head, a.group - piece.pass * kRows, lane);
  const int steps = num_steps<C>(piece, warp);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<C::kStages - 2>();
    __syncwarp();   // the copies of all lanes are there, and all have read what is overwritten now
    producer.issue(ring + position.free() * C::kStageBytes, view, warp, lane);
    const std::byte* at = ring + position.stage * C::kStageBytes;
    float scores[C::kParts][4];
    uint32_t p[C::kParts / 2][4];
    multiply_keys<C>(scores, at, q, lane);
    soften<C>(running, scores, p, a.scale_log2, piece.visible - (first + step * C::kTile), lane);
#pragma unroll
    for (int i = 0; i < C::kParts / 2; ++i)
      multiply_values<C>(running, at + (C::kStep + 16 * i) * C::kRowBytes, p[i], lane);
    position.advance();
  }
}

// The weight of each warp's result in the whole; the whole's maximum and sum go to combine.stats.
template <class C>
__device__ void weigh_warps(Shared<C>& shared, const Running& running, int warp, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(running.sum[r]);
    if (t == 0) shared.stats[warp][g + 8 * r] = {running.maximum[r], sum};
  }
  __syncthreads();
  if (threadIdx.x < kRows) {
    float maximum = -INFINITY, sum = 0;
#pragma unroll
    for (int w = 0; w < C::kWarps; ++w) maximum = fmaxf(maximum, shared.stats[w][threadIdx.x].x);
#pragma unroll
    for (int w = 0; w < C::kWarps; ++w) {
      const float2 own = shared.stats[w][threadIdx.x];
      const float weight = own.y > 0 ? exp2f(own.x - maximum) : 0.0f;
      shared.weight[w][threadIdx.x] = weight;
      sum += own.y * weight;
    }
    shared.combine.stats[threadIdx.x] = {maximum, sum};
  }
}

// emit(row, column, four unnormalised values) of the sum over the warps, columns by columns through shared memory.
template <class C, class Emit>
__device__ void merge_warps(Shared<C>& shared, const Running& running, int num_rows, int warp, int lane, Emit&& emit) {
  constexpr int kParts = kMergeColumns / 4;
  const int g = lane / 4, t = lane % 4;
  weigh_warps<C>(shared, running, warp, lane);
#pragma unroll
  for (int first = 0; first < kHeadDim; first += kMergeColumns) {
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = value_dim<typename C::Cache>(n, 2 * t + e % 2) - first;
        if (column >= 0 && column < kMergeColumns) shared.values[warp][g + e / 2 * 8][column] = running.value[n][e];
      }
    __syncthreads();
    for (int at = threadIdx.x; at < num_rows * kParts; at += C::kThreads) {
      const int r = at / kParts, column = at % kParts * 4;
      float4 total = {0, 0, 0, 0};
#pragma unroll
      for (int w = 0; w < C::kWarps; ++w) {
        const float4 x = *reinterpret_cast<const float4*>(&shared.values[w][r][column]);
        const float weight = shared.weight[w][r];
        total.x += x.x * weight, total.y += x.y * weight, total.z += x.z * weight, total.w += x.w * weight;
      }
      emit(r, first + column, total);
    }
    __syncthreads();   // the next columns, or the next piece, use the same memory
  }
}

template <class C>
__device__ void finish(Shared<C>& shared, const Running& running, const DecodeView& view, const Piece& piece, int per_block, int warp,
                       int lane) {
  const AttentionView& a = view.attention;
  const int num_rows = min(kRows, a.group - piece.pass * kRows);
  Bf16* out = a.out + piece.sequence * a.out_token + (piece.head * a.group + piece.pass * kRows) * a.out_head;
  const auto emit = [&](int r, int column, const float4& x, float sum) {
    const float factor = sum > 0 ? 1 / sum : 0.0f;   // no keys: a padded row
    const uint2 packed = {pack_bf16(x.x * factor, x.y * factor), pack_bf16(x.z * factor, x.w * factor)};
    *reinterpret_cast<uint2*>(out + r * a.out_head + column) = packed;
  };
  const Pieces pieces(piece.item_begin, piece.item_end, per_block);
  const int own_piece = static_cast<int>(blockIdx.x) - pieces.first_block, slot = pieces.slot(own_piece);
  const auto& partials = view.partials;
  merge_warps<C>(shared, running, num_rows, warp, lane, [&](int r, int column, const float4& x) {
    if (pieces.count == 1) {
      emit(r, column, x, shared.combine.stats[r].y);
    } else {
      *reinterpret_cast<float4*>(partials.values + (static_cast<int64_t>(slot) * kRows + r) * kHeadDim + column) = x;
      if (column == 0) partials.stats[slot * kRows + r] = shared.combine.stats[r];
    }
  });
  if (pieces.count > 1) {
    combine_if_last<kRows, kHeadDim, C::kThreads>(partials, pieces, own_piece, num_rows, shared.combine, emit);
    __syncthreads();   // the next piece uses the same memory
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 8 / C::kWarps) paged_decode_kernel(DecodeView view) {
  extern __shared__ __align__(16) std::byte memory[];
  Shared<C>& shared = *reinterpret_cast<Shared<C>*>(memory);
  const AttentionView& a = view.attention;
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, units = a.pages.num_heads * view.passes;
  const Share share =
      find_share_of_items<C::kThreads>(place_of_block(), view.num_seqs, units, C::kMinTiles, C::kSlackTiles,
                                       shared.plan, [&](int s) { return tiles_of(a.seq_lens[s], C::kTile); });
  Cursor<C> cursor{share.begin, share.end, share.sequence, share.sequence_begin, share.pitch};
  Producer<C> producer(cursor, view, warp, lane);
  std::byte* ring = shared.rings[warp];
#pragma unroll 1
  for (int s = 0; s < C::kStages - 1; ++s) {
    if (!producer.is_done() && !producer.is_old(warp)) wait_for_predecessor();   // the last token is its work
    producer.issue(ring + s * C::kStageBytes, view, warp, lane);
  }
  wait_for_predecessor();
  release_successor();
  RingPosition<C> position;
  for (Piece piece; cursor.next(piece, view);) {
    Running running;
    attend<C>(running, view, piece, producer, position, ring, warp, lane);
    finish<C>(shared, running, view, piece, share.per_block, warp, lane);
  }
  wait_for_copies<0>();
}

int passes_of(const AttentionView& attention) { return ceil_div(attention.group, kRows); }

template <class C>
void launch_config(Stream& stream, const AttentionView& attention, int num_seqs, const Tensor& workspace) {
  const int num_blocks = num_multiprocessors() * (8 / C::kWarps);
  const DecodeView view{attention, partials_of(workspace, num_blocks, kRows, kHeadDim), num_seqs, passes_of(attention)};
  allow_shared_memory(paged_decode_kernel<C>, sizeof(Shared<C>));
  launch_pdl(stream, paged_decode_kernel<C>, dim3(num_blocks), dim3(C::kThreads), sizeof(Shared<C>), view);
}

template <class Cache>
void launch_cache(Stream& stream, Sizing sizing, const AttentionView& view, int num_seqs, const Tensor& workspace) {
  if (sizing == Sizing::kAny) return launch_config<Small<Cache>>(stream, view, num_seqs, workspace);
  const int num_items = num_seqs * view.pages.num_heads * passes_of(view);
  if (num_items > num_multiprocessors()) return launch_config<Paired<Cache>>(stream, view, num_seqs, workspace);
  launch_config<Large<Cache>>(stream, view, num_seqs, workspace);
}

}  // namespace

bool decode_fits(Sizing sizing) {
  return sizing == Sizing::kAny || shared_memory_limit() >= static_cast<int>(sizeof(Shared<Large<Bf16>>));
}

size_t decode_workspace_bytes() { return partial_bytes(2 * num_multiprocessors(), kRows, kHeadDim); }

void launch_decode(Stream& stream, Sizing sizing, DType cache, const AttentionView& view, int num_seqs, const Tensor& workspace) {
  if (cache == DType::kBF16) {
    launch_cache<Bf16>(stream, sizing, view, num_seqs, workspace);
  } else {
    launch_cache<Fp8>(stream, sizing, view, num_seqs, workspace);
  }
}

}  // namespace gale::cuda
