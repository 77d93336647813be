// Absorbed MLA (key 576, value 512 = its first part) over the paged cache, bf16 or FP8, decode and prefill alike: an item is one
// query token, its up to 24 heads are the columns of the products, the cached tokens the rows. Limited by memory for decode
// (1152 bytes a token in bf16), by the tensor cores and L2 for prefill. The tiles of all items are shared out evenly over the card
// (device/split.cuh). In a block, for each tile: scores (a warp takes half of the tokens and a quarter of the 576 dimensions, with
// the query's fragments in registers), softmax (eight lanes take a column), values (a warp takes 64 of the 512 dimensions). Tiles
// arrive by cp.async, several in flight; rows are padded so that fragments are read without bank conflicts.
#include "backends/cuda/device/mla_items.cuh"
#include "backends/cuda/mla.h"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kKeyDim = kMlaKeyDim, kLatent = kMlaLatent;
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kQuarters = 4;                        // of the key's dimensions
constexpr int kSteps = kKeyDim / kQuarters / 16;    // of 16 dimensions a quarter: 9
constexpr int kWarpParts = kLatent / kWarps / 16;   // of 16 value dimensions a warp: 4
constexpr int kMinTiles = 2;

// kParts: columns / 8. kTokens and kStages fill the shared memory of a Hopper card, or the 99 KB of sm_89.
template <class Cache_, int kParts_, int kTokens_, int kStages_>
struct Config {
  using Cache = Cache_;
  static constexpr int kParts = kParts_, kTokens = kTokens_, kStages = kStages_;
  static constexpr int kColumns = 8 * kParts;
  static constexpr int kPitch = kKeyDim * sizeof(Cache) + 16;   // bytes; an odd number of 16-byte chunks
  static constexpr int kTokenParts = kTokens / 32;              // of 16 tokens a warp has in the scores
  static constexpr int kThreadsPerRow = kThreads / kTokens;
};

template <class C>
struct Shared {
  alignas(16) std::byte tiles[C::kStages][C::kTokens * C::kPitch];
  float scores[kQuarters][C::kTokens][C::kColumns + 1];
  alignas(16) Bf16 probabilities[C::kColumns][C::kTokens + 8];
  float2 rescale[C::kColumns / 2];
  float2 stats[C::kColumns];
  CombineScratch<C::kColumns> combine;
  int plan[kShareInts];
};

template <class C>
using Queries = uint32_t[kSteps][C::kParts][2];

template <class C>
__device__ void load_queries(Queries<C>& q, const MlaView& view, const MlaPiece& item, int quarter, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < C::kParts; ++n) {
    const int head = item.pass * C::kColumns + n * 8 + g;
    const bool inside = head < view.num_heads;
    const Bf16* row = view.q + item.token * view.q_token + (inside ? head : 0) * view.q_head + quarter * kSteps * 16;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      if constexpr (sizeof(typename C::Cache) == 2) {
        q[s][n][0] = inside ? *reinterpret_cast<const uint32_t*>(row + 16 * s + 2 * t) : 0u;
        q[s][n][1] = inside ? *reinterpret_cast<const uint32_t*>(row + 16 * s + 2 * t + 8) : 0u;
      } else {   // a key's word holds four dimensions, which widen() pairs as (0, 2) and (1, 3)
        const uint2 x = inside ? *reinterpret_cast<const uint2*>(row + 16 * s + 4 * t) : uint2{};
        q[s][n][0] = lift_pair(low_halves(x.x, x.y)), q[s][n][1] = lift_pair(high_halves(x.x, x.y));
      }
    }
  }
}

// A thread copies a part of one row: `row` of the cache, or -1: zeros.
template <class C>
__device__ void copy_tile(std::byte* tile, const void* cache, int row) {
  constexpr int kRowBytes = kKeyDim * sizeof(typename C::Cache), kChunks = kRowBytes / 16;
  const int part = threadIdx.x % C::kThreadsPerRow;
  std::byte* to = tile + threadIdx.x / C::kThreadsPerRow * C::kPitch;
  const auto* from = static_cast<const std::byte*>(cache) + static_cast<int64_t>(max(row, 0)) * kRowBytes;
#pragma unroll
  for (int i = 0; i < (kChunks + C::kThreadsPerRow - 1) / C::kThreadsPerRow; ++i) {
    const int chunk = i * C::kThreadsPerRow + part;
    if (kChunks % C::kThreadsPerRow == 0 || chunk < kChunks) copy_async_16(to + chunk * 16, from + chunk * 16, row >= 0 ? 16 : 0);
  }
}

// 16 tokens by 16 dimensions of the keys.
template <class C>
__device__ void load_keys(uint32_t (&a)[4], const std::byte* tile, int token, int dim, int lane) {
  if constexpr (sizeof(typename C::Cache) == 2) {
    load_matrix_x4(a, tile + (token + lane % 16) * C::kPitch + (dim + lane / 16 * 8) * 2);
  } else {
    const std::byte* row = tile + (token + lane / 4) * C::kPitch + dim + lane % 4 * 4;
    widen(*reinterpret_cast<const uint32_t*>(row), a[0], a[2]);
    widen(*reinterpret_cast<const uint32_t*>(row + 8 * C::kPitch), a[1], a[3]);
  }
}

// This warp's share of the scores: some tokens, a quarter of the dimensions.
template <class C>
__device__ void multiply_keys(Shared<C>& shared, const std::byte* tile, const Queries<C>& q, int warp, int lane) {
  const int g = lane / 4, t = lane % 4, quarter = warp / 2;
  float scores[C::kTokenParts][C::kParts][4];
#pragma unroll
  for (int m = 0; m < C::kTokenParts; ++m) {
    const int token = (warp % 2 * C::kTokenParts + m) * 16;
#pragma unroll
    for (int n = 0; n < C::kParts; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[m][n][e] = 0;
    uint32_t a[2][4];   // the next step's operand is loaded before this one's products
    load_keys<C>(a[0], tile, token, quarter * kSteps * 16, lane);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      if (s + 1 < kSteps) load_keys<C>(a[(s + 1) % 2], tile, token, (quarter * kSteps + s + 1) * 16, lane);
#pragma unroll
      for (int n = 0; n < C::kParts; ++n) mma_m16n8k16(scores[m][n], a[s % 2], q[s][n]);
    }
#pragma unroll
    for (int n = 0; n < C::kParts; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) shared.scores[quarter][token + g + e / 2 * 8][n * 8 + 2 * t + e % 2] = scores[m][n][e];
  }
}

// A column is softened by eight neighbouring lanes: its maximum, and this lane's share of the sum.
struct Softmax { float maximum = -INFINITY, sum = 0; };

template <class C>
__device__ void soften(Shared<C>& shared, Softmax& softmax, float scale_log2, int num_valid) {
  constexpr int kLanes = 8, kOwn = C::kTokens / kLanes;
  const int column = threadIdx.x / kLanes, first = threadIdx.x % kLanes;
  if (column >= C::kColumns) return;   // whole warps: a warp has four columns
  float score[kOwn], top = -INFINITY;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const int token = first + i * kLanes;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kQuarters; ++k) sum += shared.scores[k][token][column];
    score[i] = token < num_valid ? sum * scale_log2 : -INFINITY;
    top = fmaxf(top, score[i]);
  }
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, offset));
  const float maximum = fmaxf(softmax.maximum, top), rescale = exp2f(softmax.maximum - maximum);
  softmax.maximum = maximum;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const float p = exp2f(score[i] - maximum + kLift<typename C::Cache>);
    sum += p;
    shared.probabilities[column][first + i * kLanes] = from_float<Bf16>(p);
  }
  softmax.sum = softmax.sum * rescale + sum;
  if (first == 0) reinterpret_cast<float*>(shared.rescale)[column] = rescale;
}

// What the softmax knows at the end, for all threads.
template <class C>
__device__ void share_stats(Shared<C>& shared, Softmax softmax) {
  const int column = threadIdx.x / 8;
#pragma unroll
  for (int offset = 1; offset < 8; offset *= 2) softmax.sum += __shfl_xor_sync(kFullMask, softmax.sum, offset);
  if (column < C::kColumns && threadIdx.x % 8 == 0) shared.stats[column] = {softmax.maximum, softmax.sum};
  __syncthreads();
}

template <class C>
using Values = float[kWarpParts][C::kParts][4];

// Row r of part m is value dimension 16 m + r of the warp's 64 in bf16; in FP8, where a lane widens 8 dimensions of two tokens at
// once, lane g holds 8 g … 8 g + 7: rows g and g + 8 of part m are dimensions 8 g + 2 m and 8 g + 2 m + 1.
template <class C>
__device__ int value_dim(int m, int g, int upper) {
  return sizeof(typename C::Cache) == 2 ? 16 * m + g + 8 * upper : 8 * g + 2 * m + upper;
}

template <class C>
__device__ void multiply_values(Values<C>& values, const Shared<C>& shared, const std::byte* tile, int warp, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < C::kParts; ++n) {
    const float2 rescale = shared.rescale[n * 4 + t];
#pragma unroll
    for (int m = 0; m < kWarpParts; ++m)
#pragma unroll
      for (int e = 0; e < 4; ++e) values[m][n][e] *= e % 2 == 0 ? rescale.x : rescale.y;
  }
#pragma unroll
  for (int k = 0; k < C::kTokens; k += 16) {
    uint32_t a[kWarpParts][4], b[C::kParts][2];
#pragma unroll
    for (int n = 0; n < C::kParts; ++n) {
      const Bf16* row = &shared.probabilities[n * 8 + g][k + 2 * t];
      b[n][0] = *reinterpret_cast<const uint32_t*>(row), b[n][1] = *reinterpret_cast<const uint32_t*>(row + 8);
    }
    if constexpr (sizeof(typename C::Cache) == 2) {
#pragma unroll
      for (int m = 0; m < kWarpParts; ++m) {
        const std::byte* row = tile + (k + lane / 16 * 8 + lane % 8) * C::kPitch;
        load_matrix_x4_transposed(a[m], row + (warp * 64 + m * 16 + lane / 8 % 2 * 8) * 2);
      }
    } else {
      uint2 x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x[i] = *reinterpret_cast<const uint2*>(tile + (k + 2 * t + i / 2 * 8 + i % 2) * C::kPitch + warp * 64 + g * 8);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint2 &first = x[2 * half], &second = x[2 * half + 1];
        widen(low_halves(first.x, second.x), a[0][2 * half], a[0][2 * half + 1]);
        widen(high_halves(first.x, second.x), a[1][2 * half], a[1][2 * half + 1]);
        widen(low_halves(first.y, second.y), a[2][2 * half], a[2][2 * half + 1]);
        widen(high_halves(first.y, second.y), a[3][2 * half], a[3][2 * half + 1]);
      }
    }
#pragma unroll
    for (int m = 0; m < kWarpParts; ++m)
#pragma unroll
      for (int n = 0; n < C::kParts; ++n) mma_m16n8k16(values[m][n], a[m], b[n]);
  }
}

// Tiles first_tile … first_tile + num_tiles - 1 of an item; leaves unnormalised values in registers and stats in shared memory.
template <class C>
__device__ void attend(Values<C>& values, Shared<C>& shared, const MlaView& view, const MlaPiece& piece, int warp,
                       int lane) {
#pragma unroll
  for (int m = 0; m < kWarpParts; ++m)
#pragma unroll
    for (int n = 0; n < C::kParts; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) values[m][n][e] = 0;
  Softmax softmax;
  const int first_tile = piece.first_tile, num_tiles = piece.num_tiles;
  const auto row_of = [&](int i) {
    const int position = (first_tile + i) * C::kTokens + threadIdx.x / C::kThreadsPerRow;
    return i < num_tiles && position < piece.visible ? view.pages.row(piece.sequence, 0, position) : -1;
  };
  int row = row_of(0);
#pragma unroll 1
  for (int i = 0; i < C::kStages - 1; ++i) {
    // What earlier steps left in the cache may be read at once; this step's tokens are the predecessors' work.
    if (i < num_tiles && (first_tile + i + 1) * C::kTokens > piece.cached) wait_for_predecessor();
    if (i < num_tiles) copy_tile<C>(shared.tiles[i], view.cache, row);
    commit_copies();
    row = row_of(i + 1);
  }
  wait_for_predecessor();
  release_successor();
  Queries<C> q;
  load_queries<C>(q, view, piece, warp / 2, lane);
#pragma unroll 1
  for (int i = 0; i < num_tiles; ++i) {
    wait_for_copies<C::kStages - 2>();
    __syncthreads();   // everybody's copies are there, and everybody has left the tile that is overwritten now
    if (i + C::kStages - 1 < num_tiles) copy_tile<C>(shared.tiles[(i + C::kStages - 1) % C::kStages], view.cache, row);
    commit_copies();
    row = row_of(i + C::kStages);
    const std::byte* tile = shared.tiles[i % C::kStages];
    multiply_keys<C>(shared, tile, q, warp, lane);
    __syncthreads();
    soften<C>(shared, softmax, view.scale_log2, piece.visible - (first_tile + i) * C::kTokens);
    __syncthreads();
    multiply_values<C>(values, shared, tile, warp, lane);
  }
  wait_for_copies<0>();
  share_stats<C>(shared, softmax);
}

template <class C>
__device__ float output_factor(float sum) {   // 0: no keys, a padded row
  return sum > 0 ? kLiftFactor<typename C::Cache> * (kLiftFactor<typename C::Cache> / sum) : 0.0f;
}

// store(column, dimension, value) for what this thread holds.
template <class C, class Store>
__device__ void for_each_value(const Values<C>& values, int warp, int lane, Store&& store) {
#pragma unroll
  for (int n = 0; n < C::kParts; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e)
#pragma unroll
      for (int m = 0; m < kWarpParts; ++m)
#pragma unroll
        for (int upper = 0; upper < 2; ++upper)
          store(n * 8 + lane % 4 * 2 + e, warp * 64 + value_dim<C>(m, lane / 4, upper), values[m][n][2 * upper + e]);
}

template <class C>
__device__ void finish(Shared<C>& shared, const Values<C>& values, const MlaView& view, const MlaPiece& item,
                       const Pieces& pieces, int own_piece, int warp, int lane) {
  const int num_columns = min(C::kColumns, view.num_heads - item.pass * C::kColumns);
  Bf16* out = view.out + item.token * view.out_token + item.pass * C::kColumns * view.out_head;
  if (pieces.count == 1) {
    for_each_value<C>(values, warp, lane, [&](int column, int dim, float x) {
      if (column < num_columns)
        out[column * view.out_head + dim] = from_float<Bf16>(x * output_factor<C>(shared.stats[column].y));
    });
  } else {
    const int64_t slot = pieces.slot(own_piece);
    for_each_value<C>(values, warp, lane, [&](int column, int dim, float x) {
      if (column < num_columns) view.partials.values[(slot * C::kColumns + column) * kLatent + dim] = x;
    });
    if (threadIdx.x < C::kColumns) view.partials.stats[slot * C::kColumns + threadIdx.x] = shared.stats[threadIdx.x];
    combine_if_last<C::kColumns, kLatent, kThreads>(
        view.partials, pieces, own_piece, num_columns, shared.combine, [&](int column, int dim, const float4& x, float sum) {
          const float factor = output_factor<C>(sum);
          const uint2 packed = {pack_bf16(x.x * factor, x.y * factor), pack_bf16(x.z * factor, x.w * factor)};
          *reinterpret_cast<uint2*>(out + column * view.out_head + dim) = packed;
        });
  }
  __syncthreads();   // the next item uses the same memory
}

template <class C>
__global__ void __launch_bounds__(kThreads, 1) mla_kernel(MlaView view) {
  extern __shared__ __align__(16) std::byte memory[];
  Shared<C>& shared = *reinterpret_cast<Shared<C>*>(memory);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const Share share = find_share<kThreads>(place_of_block(), view.num_seqs, kMinTiles, shared.plan,
                                           [&](int s) { return mla_tiles(view, s, C::kTokens); });
  MlaCursor<C::kTokens> cursor(share);
  for (MlaPiece piece; cursor.next(piece, view);) {
    const Pieces pieces(piece.item_begin, piece.item_end, share.per_block);
    Values<C> values;
    attend<C>(values, shared, view, piece, warp, lane);
    finish<C>(shared, values, view, piece, pieces, static_cast<int>(blockIdx.x) - pieces.first_block, warp, lane);
  }
}

template <class C>
void launch_config(Stream& stream, MlaView view, const Tensor& workspace) {
  const int num_blocks = num_multiprocessors();
  view.passes = ceil_div(view.num_heads, C::kColumns);
  view.partials = partials_of(workspace, num_blocks, C::kColumns, kLatent);
  allow_shared_memory(mla_kernel<C>, sizeof(Shared<C>));
  launch_pdl(stream, mla_kernel<C>, dim3(num_blocks), dim3(kThreads), sizeof(Shared<C>), view);
}

template <class Cache>
using Narrow = Config<Cache, 1, 32, sizeof(Cache) == 2 ? 2 : 4>;
template <class Cache>
using Small = Config<Cache, kMlaColumns / 8, 32, sizeof(Cache) == 2 ? 2 : 4>;
template <class Cache>
using Large = Config<Cache, kMlaColumns / 8, sizeof(Cache) == 2 ? 32 : 64, 4>;
static_assert(sizeof(Shared<Small<Bf16>>) <= 99 * 1024 && sizeof(Shared<Small<Fp8>>) <= 99 * 1024);
static_assert(sizeof(Shared<Large<Bf16>>) <= 227 * 1024 && sizeof(Shared<Large<Fp8>>) <= 227 * 1024);

template <class Cache>
void launch_cache(Stream& stream, Sizing sizing, const MlaView& view, const Tensor& workspace) {
  if (view.num_heads <= Narrow<Cache>::kColumns) return launch_config<Narrow<Cache>>(stream, view, workspace);
  switch (sizing) {
    case Sizing::kHopper: return launch_config<Large<Cache>>(stream, view, workspace);
    case Sizing::kAny: return launch_config<Small<Cache>>(stream, view, workspace);
  }
}

template <Sizing kSizing>
void run_mla(Stream& stream, const MlaAttentionArgs& args) {
  MlaView view = view_of(args);
  view.scale_log2 = score_scale(args.scale, args.cache.dtype);
  if (args.cache.dtype == DType::kBF16) {
    launch_cache<Bf16>(stream, kSizing, view, args.metadata->workspace);
  } else {
    launch_cache<Fp8>(stream, kSizing, view, args.metadata->workspace);
  }
}

template <Sizing kSizing>
bool mla_supports(const DeviceCaps&, const MlaAttentionArgs& args) {
  const bool fits = kSizing == Sizing::kAny || shared_memory_limit() >= static_cast<int>(sizeof(Shared<Large<Fp8>>));
  return fits && is_latent_shape(args);
}

}  // namespace

size_t mla_workspace_bytes() { return partial_bytes(num_multiprocessors(), kMlaColumns, kLatent); }

const OpImpl<MlaAttentionArgs> kMlaAttention[4] = {
    {"mla_attention_wgmma_sm90", mla_wgmma_supports, run_mla_wgmma},
    {"mla_attention_flash_sm90", mla_supports<Sizing::kHopper>, run_mla<Sizing::kHopper>},
    {"mla_attention_flash_sm80", mla_supports<Sizing::kAny>, run_mla<Sizing::kAny>},
    {"mla_attention_any_sm80", any_mla_supports, run_any_mla}};

}  // namespace gale::cuda
