// Absorbed MLA on Hopper's warpgroup products over pages of a multiple of 64 tokens, bf16 or FP8. The cached tokens
// stand on the 64-row side of the products, the heads are their 24 columns; bf16 operands come straight from the tile
// (the values transposed). FP8 keys do, too: a query is two e4m3 rows then, as exact as its bf16, and 48 columns take
// both; FP8 values are widened to fp16 in registers on their way into the products. Limited by memory in bf16: a tile
// of 64 tokens takes an SM 5500 clocks to fetch (FP8: 2750; H200: 3800 and 1900), its products about 2000. One warp
// fetches tiles by the copy engine; two warpgroups take turns at them, each with its own running softmax and all 512
// x 24 values in registers, so that one multiplies while the other does its softmax. Their results are added up at
// the end of a piece. A team of blocks (a cluster) shares an item's tiles: one block where there are many sequences,
// more where there are few; its blocks add up each other's results through distributed shared memory, and items that
// several teams share through memory, in a fixed order.
#include "backends/cuda/device/half.cuh"
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/mla_items.cuh"
#include "backends/cuda/device/wgmma24.cuh"
#include "backends/cuda/mla.h"
#include "backends/cuda/tensor_map.h"

namespace gale::cuda {
namespace {

constexpr int kTile = 64;  // tokens
constexpr int kColumns = kMlaColumns, kParts = kColumns / 8;
constexpr int kGroups = 2, kGroupThreads = 128;  // warpgroups that multiply
constexpr int kConsumers = kGroups * kGroupThreads;
constexpr int kThreads = kConsumers + kGroupThreads;    // the third warpgroup fetches, with one thread
constexpr int kBlockBytes = kTile * kSwizzledRowBytes;  // of a tile: 128 bytes of each of its tokens
constexpr int kQueryBlocks = kMlaKeyDim / 64, kQueryBytes = kColumns * kSwizzledRowBytes;
constexpr int kValueTiles = kMlaLatent / 64;  // 64-row tiles of the values
constexpr int kUnits = kValueTiles * kParts;  // float4 a thread of a warpgroup
constexpr int kRingBytes = 2 * kTile * kMlaKeyDim * 2;
constexpr int kMaxStages = 4;
constexpr float kLowFactor = 16;  // of split_e4m3
constexpr int kMinTiles = 2;  // of a block's share: a smaller one costs more to add up than it wins

template <class Cache>
constexpr bool kIsFp8 = sizeof(Cache) == 1;
template <class Cache>
constexpr int kTileBytes = kTile * kMlaKeyDim * static_cast<int>(sizeof(Cache));
template <class Cache>
constexpr int kStages = kRingBytes / kTileBytes<Cache>;

struct alignas(1024) Shared {
  std::byte ring[kRingBytes];
  std::byte q[kQueryBlocks * kQueryBytes];  // see load_queries
  union {
    std::byte probabilities[kGroups][kQueryBytes];  // [column][token], swizzled
    float2 pieces[kMaxFan][kColumns];  // while partial results are added up: maximum and sum, then the weight in x
  };
  float4 exchange[kUnits][kGroupThreads];  // results in the order of the registers
  float rows[kGroups][4][kColumns];        // of each warp: maxima of a tile, sums at the end
  float maxima[kGroups][kColumns];
  float query_scales[kColumns];  // FP8: of a product with the rows of q that gives a power of 2
  float2 stats[kColumns];   // maximum and sum of this block
  float2 totals[kColumns];  // of what has been added up
  uint64_t full[kMaxStages], empty[kMaxStages];
  uint64_t ready, left;  // the team's results are there; the team has read this block's
  int plan[kShareInts];
  int flag;
};
static_assert(sizeof(Shared) <= 227 * 1024 && kMaxFan * kColumns * sizeof(float2) <= kGroups * kQueryBytes);

// Which team of how many; which of its blocks.
struct Team {
  int index, count, size, rank;
};

__device__ Team own_team(int size) {
  const int block = static_cast<int>(blockIdx.x);
  return {block / size, static_cast<int>(gridDim.x) / size, size, block % size};
}
// Tiles of a piece that fall to this block.
__device__ int own_tiles(const Team& team, int num_tiles) {
  return num_tiles > team.rank ? (num_tiles - team.rank + team.size - 1) / team.size : 0;
}

__device__ void group_sync(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(kGroupThreads) : "memory");
}
// The same; is it so for any of the threads?
__device__ bool group_any(int group, bool is_so) {
  int out;
  asm volatile(
      "{\n.reg .pred own, any;\n"
      "setp.ne.b32 own, %1, 0;\n"
      "bar.red.or.pred any, %2, %3, own;\n"
      "selp.b32 %0, 1, 0, any;\n}"
      : "=r"(out)
      : "r"(static_cast<int>(is_so)), "r"(1 + group), "n"(kGroupThreads)
      : "memory");
  return out != 0;
}
__device__ void consumers_sync() { asm volatile("bar.sync 3, %0;" ::"n"(kConsumers) : "memory"); }

// Arrives at the barrier of a block of the cluster: what this thread has seen can be read there after
// barrier_wait_cluster.
__device__ void barrier_arrive_cluster(uint64_t& barrier, int block_rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(&barrier)),
      "r"(block_rank)
      : "memory");
}
__device__ void barrier_wait_cluster(uint64_t& barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "WAIT_AGAIN:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra WAIT_DONE;\n"
      "bra WAIT_AGAIN;\n"
      "WAIT_DONE:\n}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}
__device__ float2 load_pair_from_block(const float2* p, int block_rank) {
  float2 x;
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %2, %3;\n"
      "ld.shared::cluster.v2.f32 {%0, %1}, [remote];\n}"
      : "=f"(x.x), "=f"(x.y)
      : "r"(shared_address(p)), "r"(block_rank)
      : "memory");
  return x;
}

// --- fetching --------------------------------------------------------------------------------------------------------

// ropes: FP8 only, whose rows are 4.5 blocks.
struct Maps {
  CUtensorMap latents, ropes;
};

template <class Cache>
__device__ void fetch_tile(std::byte* to, const Maps& maps, int row, uint64_t& barrier) {
  constexpr int kBlockColumns = kSwizzledRowBytes / static_cast<int>(sizeof(Cache));
  barrier_expect(barrier, kTileBytes<Cache>);
#pragma unroll
  for (int b = 0; b < kMlaKeyDim / kBlockColumns; ++b)
    load_box(to + b * kBlockBytes, maps.latents, b * kBlockColumns, row, barrier, kEvictFirst);
  if constexpr (kIsFp8<Cache>) load_box(to + 4 * kBlockBytes, maps.ropes, kMlaLatent, row, barrier, kEvictFirst);
}

// One thread fetches all tiles of this block, through all of the team's pieces.
template <class Cache>
__device__ void produce(Shared& shared, const Maps& maps, const MlaView& view, const Share& share, const Team& team) {
  bool has_waited = false;
  int stage = 0, parity = 1;
  MlaCursor<kTile> cursor(share);
  for (MlaPiece piece; cursor.next(piece, view);) {
    for (int i = team.rank; i < piece.num_tiles; i += team.size) {
      const int first = (piece.first_tile + i) * kTile, row = view.pages.row(piece.sequence, 0, first);
      barrier_wait(shared.empty[stage], parity);
      // What earlier steps left in the cache may be read at once; this step's tokens are the predecessors' work.
      if (!has_waited && first + kTile > piece.cached) wait_for_predecessor(), has_waited = true;
      fetch_tile<Cache>(shared.ring + stage * kTileBytes<Cache>, maps, row, shared.full[stage]);
      if (++stage == kStages<Cache>) stage = 0, parity ^= 1;
    }
  }
}

// The queries of a piece as an operand: bf16 as they are, 24 rows of 9 blocks.
__device__ void load_queries(Shared& shared, const MlaView& view, const MlaPiece& piece, const Bf16*) {
  constexpr int kPieces = kMlaKeyDim / 8, kRounds = (kColumns * kPieces + kConsumers - 1) / kConsumers;
  uint4 raw[kRounds];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kConsumers, head = piece.pass * kColumns + at / kPieces;
    raw[i] = at < kColumns * kPieces && head < view.num_heads
                 ? load_16(view.q + piece.token * view.q_token + head * view.q_head + at % kPieces * 8)
                 : uint4{};
  }
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kConsumers, column = at / kPieces, part = at % kPieces;
    if (at >= kColumns * kPieces) break;
    std::byte* row = shared.q + part / 8 * kQueryBytes + column * kSwizzledRowBytes;
    *reinterpret_cast<uint4*>(row + (part % 8 ^ (column & 7)) * 16) = raw[i];
  }
}

// Four e4m3 of x * factor, and 16 times what they leave of it. bf16 has the bits of two e4m3: with a power of 2 as the
// factor nothing is lost of elements down to 2^-13 of the largest.
struct Halves {
  uint32_t high, low;
};
__device__ Halves split_e4m3(uint32_t pair_a, uint32_t pair_b, float factor) {
  const float2 a = floats_of_bf16(pair_a), b = floats_of_bf16(pair_b);
  const float x[4] = {a.x * factor, a.y * factor, b.x * factor, b.y * factor};
  Halves out{};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const __nv_fp8x2_storage_t high = __nv_cvt_float2_to_fp8x2({x[2 * i], x[2 * i + 1]}, __NV_SATFINITE, __NV_E4M3);
    const float2 taken = __half22float2(__nv_cvt_fp8x2_to_halfraw2(high, __NV_E4M3));
    const __nv_fp8x2_storage_t low = __nv_cvt_float2_to_fp8x2(
        {(x[2 * i] - taken.x) * kLowFactor, (x[2 * i + 1] - taken.y) * kLowFactor}, __NV_SATFINITE, __NV_E4M3);
    out.high |= static_cast<uint32_t>(high) << 16 * i, out.low |= static_cast<uint32_t>(low) << 16 * i;
  }
  return out;
}

// The power of 2 that brings the largest element, given as bf16's bits, to 128 … 255, which e4m3 holds; 1 for NaN.
__device__ float split_factor(uint32_t largest) {
  constexpr uint32_t kNoNumber = 0x7f80;  // and more: infinity and NaN
  const int exponent = static_cast<int>(largest >> 7);
  return largest >= kNoNumber ? 1.0f : __uint_as_float(static_cast<uint32_t>(min(254 + 7 - exponent, 254)) << 23);
}

// For FP8 keys: two e4m3 rows a head (split_e4m3), all first ones, then all second ones; 4.5 blocks of 48 rows, as the
// keys'. A warp takes three heads.
__device__ void load_queries(Shared& shared, const MlaView& view, const MlaPiece& piece, const Fp8*) {
  constexpr int kOwn = 3, kPieces = kMlaKeyDim / 16, kRest = kPieces - kWarpSize;
  static_assert(kConsumers / kWarpSize * kOwn == kColumns && kRest * kOwn <= kWarpSize);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, first = static_cast<int>(threadIdx.x) / kWarpSize * kOwn;
  // Round i < 3: piece `lane` of head i; round 3: the last pieces of all three.
  const auto own_of = [&](int i) { return i < kOwn ? i : lane / kRest; };
  const auto part_of = [&](int i) { return i < kOwn ? lane : kWarpSize + lane % kRest; };
  const auto is_part = [&](int i) { return i < kOwn || lane < kRest * kOwn; };
  uint4 raw[kOwn + 1][2];
  uint32_t most[kOwn + 1];
#pragma unroll
  for (int i = 0; i <= kOwn; ++i) {
    const int head = piece.pass * kColumns + first + own_of(i);
    const bool is_inside = is_part(i) && head < view.num_heads;
    const Bf16* from = view.q + piece.token * view.q_token + (is_inside ? head : 0) * view.q_head + part_of(i) * 16;
    raw[i][0] = is_inside ? load_16(from) : uint4{}, raw[i][1] = is_inside ? load_16(from + 8) : uint4{};
  }
#pragma unroll
  for (int i = 0; i <= kOwn; ++i) {
    uint32_t pair = 0;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t a = __vmaxu2(raw[i][h].x & 0x7fff7fffu, raw[i][h].y & 0x7fff7fffu);
      pair = __vmaxu2(pair, __vmaxu2(a, __vmaxu2(raw[i][h].z & 0x7fff7fffu, raw[i][h].w & 0x7fff7fffu)));
    }
    most[i] = max(pair & 0xffffu, pair >> 16);
  }
  float factor[kOwn];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const uint32_t own = max(most[i], lane / kRest == i ? most[kOwn] : 0u);
    factor[i] = split_factor(__reduce_max_sync(kFullMask, own));
    if (lane == 0) shared.query_scales[first + i] = view.scale_log2 / factor[i];
  }
#pragma unroll
  for (int i = 0; i <= kOwn; ++i) {
    const int own = own_of(i), part = part_of(i);
    const float by = i < kOwn ? factor[min(i, kOwn - 1)] : own == 0 ? factor[0] : own == 1 ? factor[1] : factor[2];
    if (!is_part(i)) break;
    const auto& [a, b] = raw[i];
    const Halves x[4] = {split_e4m3(a.x, a.y, by), split_e4m3(a.z, a.w, by), split_e4m3(b.x, b.y, by),
                         split_e4m3(b.z, b.w, by)};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + own + half * kColumns;
      std::byte* block = shared.q + part / 8 * (2 * kQueryBytes);
      std::byte* to = part < kMlaLatent / 16 ? block + row * kSwizzledRowBytes + (part % 8 ^ (row & 7)) * 16
                                             : block + row * 64 + (part % 4 ^ (row >> 1 & 3)) * 16;
      *reinterpret_cast<uint4*>(to) = half == 0 ? uint4{x[0].high, x[1].high, x[2].high, x[3].high}
                                                : uint4{x[0].low, x[1].low, x[2].low, x[3].low};
    }
  }
}

// --- a tile ----------------------------------------------------------------------------------------------------------

// Of this thread's six columns: 8 j + 2 t + e at 2 j + e, with t = lane % 4. All threads of a group know the maxima; a
// sum is the thread's share. values: rows of 64-row tile m as value_dim says.
struct Running {
  float maximum[2 * kParts], sum[2 * kParts];
  float scale[2 * kParts];  // FP8: Shared::query_scales
  float limit[2 * kParts];  // the largest score for which the maximum need not change (kMaxExcess)
  float values[kValueTiles][4 * kParts];
};

// The first of the two dimensions that this thread's rows of tile m are, and the second's distance.
template <class Cache>
__device__ int value_dim(int m, int warp, int lane) {
  return kIsFp8<Cache> ? warp * 128 + lane / 4 * 16 + 2 * m : m * 64 + warp * 16 + lane / 4;
}

__device__ void multiply_keys(float (&scores)[12], const std::byte* tile, const Shared& shared, const Running&,
                              const Bf16*) {
  const uint64_t a = tile_descriptor(tile), b = tile_descriptor(shared.q);
  wgmma_fence();
#pragma unroll
  for (int block = 0; block < kQueryBlocks; ++block)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma_24<Bf16, false>(scores, a + block * (kBlockBytes / 16) + 2 * k, b + block * (kQueryBytes / 16) + 2 * k,
                            block + k > 0);
  wgmma_commit();
  wgmma_wait<0>();
  pin_registers(scores);
}

// FP8 keys as they are, by both rows of each query.
__device__ void multiply_keys(float (&scores)[12], const std::byte* tile, const Shared& shared, const Running& running,
                              const Fp8*) {
  float products[24];
  const uint64_t a = tile_descriptor(tile), b = tile_descriptor(shared.q),
                 a_rope = tile_descriptor<64>(tile + 4 * kBlockBytes),
                 b_rope = tile_descriptor<64>(shared.q + 4 * (2 * kQueryBytes));
  wgmma_fence();
#pragma unroll
  for (int block = 0; block < 4; ++block)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma_48(products, a + block * (kBlockBytes / 16) + 2 * k, b + block * (2 * kQueryBytes / 16) + 2 * k,
               block + k > 0);
#pragma unroll
  for (int k = 0; k < 2; ++k) wgmma_48(products, a_rope + 2 * k, b_rope + 2 * k, true);
  wgmma_commit();
  wgmma_wait<0>();
  pin_registers(products);
#pragma unroll
  for (int e = 0; e < 12; ++e)
    scores[e] = fmaf(products[12 + e], 1 / kLowFactor, products[e]) * running.scale[e / 4 * 2 + e % 2];
}

__device__ void multiply_values(Running& running, const std::byte* tile, const std::byte* probabilities) {
  const uint64_t a = tile_descriptor(tile), b = tile_descriptor(probabilities);
  wgmma_fence();
#pragma unroll
  for (int m = 0; m < kValueTiles; ++m)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma_24<Bf16, true>(running.values[m], a + m * (kBlockBytes / 16) + k * 128, b + 2 * k, true);
  wgmma_commit();
  wgmma_wait<0>();
#pragma unroll
  for (int m = 0; m < kValueTiles; ++m) pin_registers(running.values[m]);
}

// FP8 values: a lane takes 16 dimensions of four tokens at once; which dimension is which row of a product is free.
struct ValueWords {
  uint4 x[4];
};
__device__ void load_values(ValueWords& values, const std::byte* tile, int k, int warp, int lane) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = 16 * k + i / 2 * 8 + 2 * t + i % 2;
    values.x[i] = load_16(tile + warp * kBlockBytes + token * kSwizzledRowBytes + (g ^ (token & 7)) * 16);
  }
}
// 64-row tiles m = first … first + 3 of a step.
__device__ void widen_values(uint32_t (&a)[4][4], const ValueWords& values, int first) {
  const auto& x = values.x;
  const auto word = [&](int i, int e) { return e == 0 ? x[i].x : e == 1 ? x[i].y : e == 2 ? x[i].z : x[i].w; };
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const int e = (first + m) / 2;
    const unsigned select = m % 2 == 0 ? 0x5140 : 0x7362;  // two dimensions of two tokens, the tokens side by side
    widen_to_half(__byte_perm(word(0, e), word(1, e), select), a[m][0], a[m][1]);
    widen_to_half(__byte_perm(word(2, e), word(3, e), select), a[m][2], a[m][3]);
  }
}

// values: of the first 16 tokens. Gives the tile back as soon as all of it is in registers.
__device__ void multiply_values(Running& running, ValueWords& values, const std::byte* tile,
                                const std::byte* probabilities, uint64_t& empty, int warp, int lane) {
  constexpr int kBatch = 4;  // 64-row tiles
  const uint64_t b = tile_descriptor(probabilities);
  uint32_t a[2][kBatch][4];
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int batch = 0; batch < 2; ++batch) {
      auto& own = a[batch];
      if (k > 0) {
        wgmma_wait<1>();
        keep_registers(own);
      }
      widen_values(own, values, batch * kBatch);
      if (batch == 1) {
        if (k < 3) {
          load_values(values, tile, k + 1, warp, lane);
        } else {
          __syncwarp();
          if (lane == 0) barrier_arrive(empty);
        }
      }
      wgmma_fence();
#pragma unroll
      for (int m = 0; m < kBatch; ++m) wgmma_24<__half>(running.values[batch * kBatch + m], own[m], b + 2 * k, true);
      wgmma_commit();
    }
  wgmma_wait<0>();
  keep_registers(a[0]), keep_registers(a[1]);
#pragma unroll
  for (int m = 0; m < kValueTiles; ++m) pin_registers(running.values[m]);
}

// Zeros instead of what lies behind the last token: it may be anything, and takes part with probability 0.
template <class Cache>
__device__ void clear_rows(std::byte* tile, int num_valid) {
  constexpr int kChunks = kMlaLatent * static_cast<int>(sizeof(Cache)) / 16;
  for (int i = static_cast<int>(threadIdx.x) % kGroupThreads; i < (kTile - num_valid) * kChunks; i += kGroupThreads) {
    const int row = num_valid + i / kChunks, chunk = i % kChunks;
    *reinterpret_cast<uint4*>(tile + chunk / 8 * kBlockBytes + row * kSwizzledRowBytes + chunk % 8 * 16) = uint4{};
  }
}

__device__ void store_matrices(std::byte* row, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {  // transposed
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}
__device__ void store_matrices(std::byte* row, uint32_t a, uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(shared_address(row)), "r"(a),
               "r"(b)
               : "memory");
}

// The group's maximum of each column over the tile, in its six columns.
__device__ void column_maxima(float (&top)[6], const float (&scores)[12], float (&rows)[4][kColumns], int group,
                              int warp, int lane) {
#pragma unroll
  for (int c = 0; c < 6; ++c) top[c] = fmaxf(scores[c / 2 * 4 + c % 2], scores[c / 2 * 4 + 2 + c % 2]);
#pragma unroll
  for (int offset = 4; offset < kWarpSize; offset *= 2)
#pragma unroll
    for (int c = 0; c < 6; ++c) top[c] = fmaxf(top[c], __shfl_xor_sync(kFullMask, top[c], offset));
  if (lane < 4) {
#pragma unroll
    for (int j = 0; j < kParts; ++j)
      *reinterpret_cast<float2*>(&rows[warp][8 * j + 2 * lane]) = {top[2 * j], top[2 * j + 1]};
  }
  group_sync(group);
#pragma unroll
  for (int w = 0; w < 4; ++w)
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      const float2 x = *reinterpret_cast<const float2*>(&rows[w][8 * j + lane % 4 * 2]);
      top[2 * j] = fmaxf(top[2 * j], x.x), top[2 * j + 1] = fmaxf(top[2 * j + 1], x.y);
    }
}

__device__ void raise_maxima(Shared& shared, Running& running, const float (&scores)[12], float scale_log2, int group,
                             int warp, int lane) {
  float top[6], rescale[6];
  column_maxima(top, scores, shared.rows[group], group, warp, lane);
#pragma unroll
  for (int c = 0; c < 6; ++c) {
    const float maximum = fmaxf(running.maximum[c], top[c] * scale_log2);
    rescale[c] = exp2_fast(running.maximum[c] - maximum);
    running.maximum[c] = maximum, running.limit[c] = __fdividef(maximum + kMaxExcess, scale_log2);
    running.sum[c] *= rescale[c];
  }
#pragma unroll
  for (int m = 0; m < kValueTiles; ++m)
#pragma unroll
    for (int e = 0; e < 12; ++e) running.values[m][e] *= rescale[e / 4 * 2 + e % 2];
}

// The probabilities of a tile's tokens, as operands in shared memory once group_sync is called.
template <class Cache>
__device__ void soften(Shared& shared, Running& running, float (&scores)[12], float scale_log2, int num_valid,
                       int group, int warp, int lane) {
  if (num_valid < kTile) {
    const int token = warp * 16 + lane / 4;
#pragma unroll
    for (int e = 0; e < 12; ++e)
      if (token + e % 4 / 2 * 8 >= num_valid) scores[e] = -INFINITY;
  }
  bool is_over = false;
#pragma unroll
  for (int e = 0; e < 12; ++e) is_over |= scores[e] > running.limit[e / 4 * 2 + e % 2];
  // Here the group meets: nobody reads the probabilities of the tile before any more.
  if (group_any(group, is_over)) raise_maxima(shared, running, scores, scale_log2, group, warp, lane);
  uint32_t p[2 * kParts];  // 8 columns j by 8 tokens of half h at 2 j + h
#pragma unroll
  for (int j = 0; j < kParts; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float a = exp2_fast(fmaf(scores[4 * j + 2 * h], scale_log2, -running.maximum[2 * j]));
      const float b = exp2_fast(fmaf(scores[4 * j + 2 * h + 1], scale_log2, -running.maximum[2 * j + 1]));
      p[2 * j + h] = kIsFp8<Cache> ? pack_half(a, b) : pack_bf16(a, b);
      // What is lost in rounding to bf16 is lost in the sum, too.
      const float2 taken = kIsFp8<Cache> ? float2{a, b} : floats_of_bf16(p[2 * j + h]);
      running.sum[2 * j] += taken.x, running.sum[2 * j + 1] += taken.y;
    }
  std::byte* to = shared.probabilities[group] + (lane / 16 * 8 + lane % 8) * kSwizzledRowBytes +
                  ((warp * 2 + lane / 8 % 2) ^ (lane & 7)) * 16;
  store_matrices(to, p[0], p[1], p[2], p[3]);
  store_matrices(
      shared.probabilities[group] + (16 + lane % 8) * kSwizzledRowBytes + ((warp * 2 + lane / 8 % 2) ^ (lane & 7)) * 16,
      p[4], p[5]);
}

// Multiplies a tile and gives it back.
template <class Cache>
__device__ void attend_tile(Shared& shared, Running& running, std::byte* tile, float scale_log2, int num_valid,
                            uint64_t& empty, int group, int warp, int lane) {
  constexpr const Cache* kTag = nullptr;
  float scores[12];
  multiply_keys(scores, tile, shared, running, kTag);
  soften<Cache>(shared, running, scores, scale_log2, num_valid, group, warp, lane);
  if (num_valid < kTile) {
    clear_rows<Cache>(tile, num_valid);  // all warps have multiplied the keys: they have met in soften
    group_sync(group);
  }
  if constexpr (kIsFp8<Cache>) {
    ValueWords values;
    load_values(values, tile, 0, warp, lane);
    fence_async_proxy();
    group_sync(group);
    multiply_values(running, values, tile, shared.probabilities[group], empty, warp, lane);
  } else {
    fence_async_proxy();
    group_sync(group);
    multiply_values(running, tile, shared.probabilities[group]);
    if (lane == 0) barrier_arrive(empty);
  }
}

// --- results ---------------------------------------------------------------------------------------------------------

// Four values of unit u (tile m, columns of part j: u = 3 m + j): two dimensions by two columns, first the columns.
template <class Cache>
__device__ void store_out(const Shared& shared, const MlaView& view, const MlaPiece& piece, int unit, float4 x,
                          int warp, int lane) {
  const int column = unit % kParts * 8 + lane % 4 * 2, dim = value_dim<Cache>(unit / kParts, warp, lane);
  const auto factor = [&](int c) {
    return shared.totals[c].y > 0 ? 1 / shared.totals[c].y : 0.0f;
  };  // 0: no keys, a padded row
  const float first = factor(column), second = factor(column + 1);
  x = {x.x * first, x.y * second, x.z * first, x.w * second};
  const auto at = [&](int c, int d) {
    return reinterpret_cast<uint32_t*>(view.out + piece.token * view.out_token +
                                       (piece.pass * kColumns + c) * view.out_head + d);
  };
  const int num_columns = view.num_heads - piece.pass * kColumns;
  if constexpr (kIsFp8<Cache>) {  // the two dimensions are neighbours
    if (column < num_columns) *at(column, dim) = pack_bf16(x.x, x.z);
    if (column + 1 < num_columns) *at(column + 1, dim) = pack_bf16(x.y, x.w);
  } else {  // the neighbour is four lanes on: the even one takes the first column, the odd one the second
    const bool is_odd = lane & 4;
    const float a = __shfl_xor_sync(kFullMask, is_odd ? x.x : x.y, 4),
                b = __shfl_xor_sync(kFullMask, is_odd ? x.z : x.w, 4);
    const int own = column + is_odd;
    if (own >= num_columns) return;
    *at(own, dim - is_odd) = is_odd ? pack_bf16(a, x.y) : pack_bf16(x.x, a);
    *at(own, dim - is_odd + 8) = is_odd ? pack_bf16(b, x.w) : pack_bf16(x.z, b);
  }
}

// Adds up `count` partial results: stats_of(p, column), values_of(p, unit). emit(unit, sum) for this thread's units,
// which are those of `team.rank`; their maxima and sums are left in shared.totals.
template <class StatsOf, class ValuesOf, class Emit>
__device__ void add_up(Shared& shared, const Team& team, int count, StatsOf&& stats_of, ValuesOf&& values_of,
                       Emit&& emit) {
  for (int i = static_cast<int>(threadIdx.x); i < count * kColumns; i += kConsumers)
    shared.pieces[i / kColumns][i % kColumns] = stats_of(i / kColumns, i % kColumns);
  consumers_sync();
  if (threadIdx.x < kColumns) {
    const int c = static_cast<int>(threadIdx.x);
    shared.totals[c] = weigh_pieces(shared.pieces, count, c);
  }
  consumers_sync();
  constexpr int kUnroll = 4;
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads, step = kGroups * team.size;
  for (int first = team.rank + group * team.size; first < kUnits; first += kUnroll * step) {
    float4 total[kUnroll] = {};
#pragma unroll 4
    for (int p = 0; p < count; ++p)
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int unit = min(first + u * step, kUnits - 1);
        const int column = unit % kParts * 8 + static_cast<int>(threadIdx.x) % 4 * 2;
        const float4 x = values_of(p, unit);
        const float a = shared.pieces[p][column].x, b = shared.pieces[p][column + 1].x;
        total[u].x += x.x * a, total[u].y += x.y * b, total[u].z += x.z * a, total[u].w += x.w * b;
      }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (first + u * step < kUnits) emit(first + u * step, total[u]);
  }
}

// Where partial results of an item lie: a slot a piece, in it the units' values; stats for each rank of a team.
__device__ float4* slot_values(const MlaView& view, int slot, int unit) {
  return reinterpret_cast<float4*>(view.partials.values) +
         (static_cast<int64_t>(slot) * kUnits + unit) * kGroupThreads + threadIdx.x % kGroupThreads;
}
__device__ float2* slot_stats(const MlaView& view, const Team& team, int slot) {
  return view.partials.stats + (slot * team.size + team.rank) * kColumns;
}

// Pieces begin, begin + step … of an item from memory.
template <class Emit>
__device__ void add_up_pieces(Shared& shared, const MlaView& view, const Team& team, const Pieces& pieces, int begin,
                              int end, int step, Emit&& emit) {
  add_up(
      shared, team, (end - begin + step - 1) / step,
      [&](int p, int c) { return __ldcg(slot_stats(view, team, pieces.slot(begin + p * step)) + c); },
      [&](int p, int unit) { return __ldcg(slot_values(view, pieces.slot(begin + p * step), unit)); }, emit);
}

// As split.cuh's, for the units of this block's rank: the last of the blocks of this rank adds up.
template <class Emit>
__device__ void add_up_if_last(Shared& shared, const MlaView& view, const Team& team, const Pieces& pieces,
                               int own_piece, Emit&& emit) {
  const auto arrives = [&](int offset, int slot, int expected) {
    return arrives_last(&view.partials.counters[offset + slot * team.size + team.rank], expected, &shared.flag,
                        consumers_sync);
  };
  int fan = pieces.count;
  if (fan > min(6 * team.size, kMaxFan)) {
    fan = 4;
    while (fan * fan < pieces.count) ++fan;
  }
  const int begin = own_piece / fan * fan, end = min(begin + fan, pieces.count);
  if (!arrives(0, pieces.slot(begin), end - begin)) return;
  if (fan == pieces.count) return add_up_pieces(shared, view, team, pieces, begin, end, 1, emit);
  const int slot = pieces.slot(begin);
  // In place: a thread reads every piece of an element before it writes the sum over the first.
  add_up_pieces(shared, view, team, pieces, begin, end, 1,
                [&](int unit, const float4& x) { *slot_values(view, slot, unit) = x; });
  if (threadIdx.x < kColumns) slot_stats(view, team, slot)[threadIdx.x] = shared.totals[threadIdx.x];
  const int num_groups = (pieces.count + fan - 1) / fan;
  if (!arrives(2 * kMaxSplitBlocks, pieces.slot(0), num_groups)) return;
  add_up_pieces(shared, view, team, pieces, 0, pieces.count, fan, emit);
}

// Sums over the block: what both groups found of tiles 4 * group … + 3 ends in `own`, of all columns in shared.stats.
__device__ void add_up_groups(Shared& shared, Running& running, float4 (&own)[kUnits / kGroups], int group, int warp,
                              int lane) {
#pragma unroll
  for (int offset = 4; offset < kWarpSize; offset *= 2)
#pragma unroll
    for (int c = 0; c < 6; ++c) running.sum[c] += __shfl_xor_sync(kFullMask, running.sum[c], offset);
  if (lane < 4) {
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      *reinterpret_cast<float2*>(&shared.rows[group][warp][8 * j + 2 * lane]) = {running.sum[2 * j],
                                                                                 running.sum[2 * j + 1]};
      if (warp == 0)
        *reinterpret_cast<float2*>(&shared.maxima[group][8 * j + 2 * lane]) = {running.maximum[2 * j],
                                                                               running.maximum[2 * j + 1]};
    }
  }
  consumers_sync();
  float factor[6];
#pragma unroll
  for (int c = 0; c < 6; ++c) {
    const int column = c / 2 * 8 + lane % 4 * 2 + c % 2;
    const float maximum = fmaxf(shared.maxima[0][column], shared.maxima[1][column]);
    float weight[kGroups], sum = 0;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const float top = shared.maxima[g][column];
      weight[g] = top > -INFINITY ? exp2f(top - maximum) : 0.0f;
      float rows = 0;
#pragma unroll
      for (int w = 0; w < 4; ++w) rows += shared.rows[g][w][column];
      sum += weight[g] * rows;
    }
    factor[c] = weight[group];
    if (group == 0 && warp == 0 && lane < 4) shared.stats[column] = {maximum, sum};
  }
#pragma unroll
  for (int m = 0; m < kValueTiles; ++m)
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      const auto& x = running.values[m];
      const float4 scaled = {x[4 * j] * factor[2 * j], x[4 * j + 1] * factor[2 * j + 1], x[4 * j + 2] * factor[2 * j],
                             x[4 * j + 3] * factor[2 * j + 1]};
      if (m / 4 == group) {
        own[m % 4 * kParts + j] = scaled;
      } else {
        shared.exchange[m * kParts + j][threadIdx.x % kGroupThreads] = scaled;
      }
    }
  consumers_sync();
#pragma unroll
  for (int i = 0; i < kUnits / kGroups; ++i) {
    const float4 other = shared.exchange[group * (kUnits / kGroups) + i][threadIdx.x % kGroupThreads];
    own[i].x += other.x, own[i].y += other.y, own[i].z += other.z, own[i].w += other.w;
  }
}

// The results of a piece: to the output, or where other teams have pieces of the item, to memory, where the last one
// adds up. `round` counts what the team has added up.
template <class Cache>
__device__ void finish(Shared& shared, Running& running, const MlaView& view, const MlaPiece& piece,
                       const Pieces& pieces, const Team& team, int round, int group, int warp, int lane) {
  constexpr int kOwn = kUnits / kGroups;
  const int own_piece = team.index - pieces.first_block, slot = pieces.slot(own_piece);
  const auto to_out = [&](int unit, const float4& x) { store_out<Cache>(shared, view, piece, unit, x, warp, lane); };
  const auto to_slot = [&](int unit, const float4& x) { *slot_values(view, slot, unit) = x; };
  if (team.size > 1 && round > 0) barrier_wait(shared.left, (round - 1) & 1);
  float4 own[kOwn];
  add_up_groups(shared, running, own, group, warp, lane);
  if (team.size == 1) {
    if (threadIdx.x < kColumns) shared.totals[threadIdx.x] = shared.stats[threadIdx.x];
    consumers_sync();
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
      if (pieces.count == 1)
        to_out(group * kOwn + i, own[i]);
      else
        to_slot(group * kOwn + i, own[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) shared.exchange[group * kOwn + i][threadIdx.x % kGroupThreads] = own[i];
    consumers_sync();
    if (threadIdx.x < team.size) barrier_arrive_cluster(shared.ready, static_cast<int>(threadIdx.x));
    barrier_wait_cluster(shared.ready, round & 1);
    add_up(
        shared, team, team.size, [&](int p, int c) { return load_pair_from_block(&shared.stats[c], p); },
        [&](int p, int unit) { return load_from_block(&shared.exchange[unit][threadIdx.x % kGroupThreads], p); },
        [&](int unit, const float4& x) {
          if (pieces.count == 1)
            to_out(unit, x);
          else
            to_slot(unit, x);
        });
    consumers_sync();
    if (threadIdx.x < team.size) barrier_arrive_cluster(shared.left, static_cast<int>(threadIdx.x));
  }
  if (pieces.count == 1) return;
  if (threadIdx.x < kColumns) slot_stats(view, team, slot)[threadIdx.x] = shared.totals[threadIdx.x];
  add_up_if_last(shared, view, team, pieces, own_piece, to_out);
}

template <class Cache>
__device__ void consume(Shared& shared, const MlaView& view, const Share& share, const Team& team) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4;
  const int group = own_warpgroup();
  wait_for_predecessor();
  release_successor();
  int taken = 0, round = 0;  // tiles of earlier pieces; pieces
  MlaCursor<kTile> cursor(share);
  for (MlaPiece piece; cursor.next(piece, view); ++round) {
    load_queries(shared, view, piece, static_cast<const Cache*>(nullptr));
    fence_async_proxy();
    Running running;
#pragma unroll
    for (int c = 0; c < 6; ++c) running.maximum[c] = running.limit[c] = -INFINITY, running.sum[c] = 0;
#pragma unroll
    for (int m = 0; m < kValueTiles; ++m)
#pragma unroll
      for (int e = 0; e < 12; ++e) running.values[m][e] = 0;
    consumers_sync();
    if constexpr (kIsFp8<Cache>) {
#pragma unroll
      for (int c = 0; c < 6; ++c) running.scale[c] = shared.query_scales[c / 2 * 8 + lane % 4 * 2 + c % 2];
    }
    const int num_tiles = own_tiles(team, piece.num_tiles);
#pragma unroll 1
    for (int i = group; i < num_tiles; i += kGroups) {
      const int stage = uniform((taken + i) % kStages<Cache>);
      const int num_valid = piece.visible - (piece.first_tile + team.rank + i * team.size) * kTile;
      barrier_wait(shared.full[stage], (taken + i) / kStages<Cache> & 1);
      attend_tile<Cache>(shared, running, shared.ring + stage * kTileBytes<Cache>, kIsFp8<Cache> ? 1 : view.scale_log2,
                         num_valid, shared.empty[stage], group, warp, lane);
    }
    taken += num_tiles;
    finish<Cache>(shared, running, view, piece, Pieces(piece.item_begin, piece.item_end, share.per_block), team, round,
                  group, warp, lane);
  }
  if (team.size > 1 && round > 0)
    barrier_wait(shared.left, (round - 1) & 1);  // others may still read this block's results
}

template <class Cache>
__global__ void __launch_bounds__(kThreads, 1)
    mla_wgmma_kernel(const __grid_constant__ Maps maps, const __grid_constant__ MlaView view, int team_size) {
  extern __shared__ __align__(1024) std::byte memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const Team team = own_team(team_size);
  if (threadIdx.x == 0) {
    if (shared_address(memory) % 1024 != 0) __trap();  // the swizzle goes by addresses
    for (int s = 0; s < kStages<Cache>; ++s) barrier_init(shared.full[s], 1), barrier_init(shared.empty[s], 4);
    barrier_init(shared.ready, team.size), barrier_init(shared.left, team.size);
    fence_barrier_init();
    prefetch_map(maps.latents);
  }
  const Share share = find_share<kThreads>({team.index, team.count}, view.num_seqs, kMinTiles * team_size, shared.plan,
                                           [&](int s) { return mla_tiles(view, s, kTile); });
  if (team.size > 1) cluster_sync();  // everybody's barriers are there
  if (threadIdx.x < kConsumers) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    consume<Cache>(shared, view, share, team);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == kConsumers) produce<Cache>(shared, maps, view, share, team);
  }
}

// --- host ------------------------------------------------------------------------------------------------------------

// Blocks that share an item, given how many there are (measured on an H100, 1280 to 131072 tokens each).
int team_size(int num_items) { return num_items <= 16 ? 4 : num_items <= 96 ? 2 : 1; }

// Clusters of this many blocks that the card runs at once.
template <class Cache>
int num_teams(int size) {
  if (size == 1) return num_multiprocessors();
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(size), attribute.val.clusterDim.y = 1,
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(size * (num_multiprocessors() / size)), config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = sizeof(Shared), config.attrs = &attribute, config.numAttrs = 1;
  int count = 0;
  const cudaError_t error = cudaOccupancyMaxActiveClusters(&count, mla_wgmma_kernel<Cache>, &config);
  CHECK(error == cudaSuccess && count > 0, "clusters of {} blocks: {}", size, cudaGetErrorString(error));
  return std::min(count, num_multiprocessors() / size);
}

template <class Cache>
void launch(Stream& stream, const MlaAttentionArgs& args) {
  const int64_t rows = args.cache.shape[0] * args.cache.shape[1];
  Maps maps;
  maps.latents = make_tensor_map({args.cache.data, args.cache.dtype, rows, kMlaKeyDim, kMlaKeyDim}, kTile);
  maps.ropes = kIsFp8<Cache>
                   ? make_tensor_map({args.cache.data, args.cache.dtype, rows, kMlaKeyDim, kMlaKeyDim}, kTile, 64)
                   : maps.latents;
  allow_shared_memory(mla_wgmma_kernel<Cache>, sizeof(Shared));
  const int size = team_size(args.metadata->num_tokens * ceil_div(args.q.shape[1], kColumns));
  const int teams = num_teams<Cache>(size);
  MlaView view = view_of(args);
  view.scale_log2 = score_scale(args.scale, DType::kBF16);  // FP8 keys are widened by their value
  view.passes = ceil_div(view.num_heads, kColumns);
  view.partials = partials_of(args.metadata->workspace, teams * size, kColumns, kMlaLatent);
  launch_cluster_pdl(stream, mla_wgmma_kernel<Cache>, dim3(teams * size), size, dim3(kThreads), sizeof(Shared), maps,
                     view, size);
}

}  // namespace

void run_mla_wgmma(Stream& stream, const MlaAttentionArgs& args) {
  const int first_chunk = first_mla_chunk(args);
  const AttentionMetadata others = part_of(*args.metadata, 0, first_chunk);
  MlaAttentionArgs rest = args;
  rest.metadata = &others;
  if (first_chunk > 0 && args.cache.dtype == DType::kBF16) launch<Bf16>(stream, rest);
  if (first_chunk > 0 && args.cache.dtype != DType::kBF16) launch<Fp8>(stream, rest);
  run_mla_chunks(stream, args, first_chunk);
}

bool mla_wgmma_supports(const DeviceCaps& caps, const MlaAttentionArgs& args) {
  return caps.compute_capability == 90 && is_latent_shape(args) && args.metadata->block_size % kTile == 0 &&
         reinterpret_cast<uintptr_t>(args.cache.data) % 16 == 0;
}

}  // namespace gale::cuda
