#pragma once

#include "backends/cuda/device/fragments.cuh"
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma_wide.cuh"
#include "backends/cuda/tile_gemm_plan.h"

// Dense products of many tokens on sm_90a: out[token, n] = sum_k weight[n, k] * in[token, k], bf16 or e4m3, fp32
// accumulation. One block an SM computes 128 weight rows by kTokens tokens at a time: one warp fills a ring of stages,
// 128 bytes of K each, and two warpgroups multiply 64 rows each.
//
// Limited by shared memory, at 256 tokens as much by arithmetic. Where tiles are many, blocks stay and take one after
// the other: while the next one's first blocks of K are multiplied, the results of the last one leave. Where tiles are
// few, blocks of a cluster share the K of one tile and add up their parts in the order of their ranks.
namespace gale::cuda {

// A matrix by boxes of the copy engine. Rows beyond its end are never asked for, as each would keep the engine busy for
// several clocks: the last box is of the rows that there are.
struct BoxedMatrix { CUtensorMap box, last; };

struct TileGemmView {
  void* out;  // [tokens, n], row pitch out_stride
  int64_t out_stride;
  const float *weight_scales, *in_scales;  // of e4m3 operands, else null
  const __nv_bfloat16* bias;               // [size_n] or null
  uint64_t weight_hint;
  int num_tokens, size_n, num_k_blocks;
  int num_row_tiles, num_token_tiles;  // of kTokens
  // Narrow tiles, of kTokens / 2: halves of the last num_halved wide ones, then those of a last column of tokens that
  // begins at narrow_first.
  TileShares shares;
  int num_halved, narrow_first;
  int split;  // blocks of a cluster, which share the K of a tile
  bool is_f32, is_swiglu;
};

template <class Type, int kTileTokens>
struct TileGemmConfig {
  using T = Type;
  static constexpr int kRows = 128;
  static constexpr int kTokens = kTileTokens;
  static constexpr bool kHasNarrow = kTokens == 256;  // also takes tiles of half as many tokens
  static constexpr int kBoxTokens = kHasNarrow ? kTokens / 2 : kTokens;  // of a box of the copy engine
  static constexpr int kGroups = kRows / 64;          // warpgroups that multiply
  static constexpr int kConsumers = kGroups * 128;
  static constexpr int kThreads = kConsumers + 128;  // registers move between whole warpgroups
  // Small tiles leave a quarter of the registers to a block of the norm behind them, which starts beside them.
  static constexpr bool kIsSmall = kTokens <= 160;
  // Results of a tile wait in registers, and leave during the first products of the next.
  static constexpr bool kDefers = !kIsSmall;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = kIsSmall ? 168 : 232;
  static constexpr int kBoundThreads = kIsSmall ? 512 : kThreads;  // as if so many: 128 registers each
  static constexpr int kBlockK = kSwizzledRowBytes / static_cast<int>(sizeof(T));
  static constexpr int kWeightBytes = kRows * kSwizzledRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kSwizzledRowBytes;
  // Results leave by chunks of tokens, 64 rows each: 128 bytes a token, or two buffers of 64 after SwiGLU.
  static constexpr int kChunkTokens = 64;
  static constexpr int kStagingBytes = kChunkTokens * 128;
  static constexpr int kAligning = 1024, kStaticBytes = kGroups * kTokens * 4 + 512;
  static constexpr int kBlockBytes = 227 * 1024;
  static constexpr int kStages = (kBlockBytes - kGroups * kStagingBytes - kAligning - kStaticBytes) / kStageBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + kGroups * kStagingBytes + kAligning;
};

template <class C>
struct TileGemmShared {
  uint64_t full[C::kStages], empty[C::kStages];
  alignas(8) float factors[C::kGroups][C::kTokens];  // of e4m3 tokens, a copy for each warpgroup
};

struct TilePlace {
  int n0, first, tokens;
};

// Token tiles go in groups of 16 through all row tiles, so that what a wave of blocks reads stays in L2.
template <class C>
__device__ TilePlace wide_tile(const TileGemmView& view, int number) {
  constexpr int kGroup = 16;
  const int group = number / (kGroup * view.num_row_tiles), in_group = number - group * kGroup * view.num_row_tiles;
  const int width = min(kGroup, view.num_token_tiles - group * kGroup);
  return {in_group / width * C::kRows, (group * kGroup + in_group % width) * C::kTokens, C::kTokens};
}

// The tiles of one cluster.
template <class C>
struct TileSchedule {
  const TileGemmView& view;
  int cluster;

  __device__ explicit TileSchedule(const TileGemmView& view) : view(view), cluster(blockIdx.x / view.split) {}
  // Number i, or false where there are no more.
  __device__ bool get(int i, TilePlace& tile) const {
    const int number = scheduled_tile(view.shares, cluster, i), narrow = number - view.shares.num_wide;
    if (number < 0) return false;
    if (!C::kHasNarrow || narrow < 0) return tile = wide_tile<C>(view, number), true;
    if (narrow < 2 * view.num_halved) {
      tile = wide_tile<C>(view, view.shares.num_wide + narrow / 2);
      tile.first += narrow % 2 * (C::kTokens / 2);
    } else {
      tile.n0 = (narrow - 2 * view.num_halved) * C::kRows, tile.first = view.narrow_first;
    }
    tile.tokens = C::kTokens / 2;
    return true;
  }
};

// --- filling the ring --------------------------------------------------------------------------------

// By one thread.
template <class C>
struct TileProducer {
  const BoxedMatrix &weights, &in;
  const TileGemmView& view;
  TileGemmShared<C>& shared;
  uint8_t* stages;

  __device__ void load_weights(int stage, const TilePlace& tile, int k) {
    const bool is_last = tile.n0 + C::kRows > view.size_n;
    load_box(stages + stage * C::kStageBytes, is_last ? weights.last : weights.box, k * C::kBlockK, tile.n0,
             shared.full[stage], view.weight_hint);
  }
  __device__ void load_in(int stage, const TilePlace& tile, int k) {
    uint8_t* to = stages + stage * C::kStageBytes + C::kWeightBytes;
    const int end = min(tile.first + tile.tokens, view.num_tokens);
    for (int first = tile.first; first < end; first += C::kBoxTokens, to += C::kBoxTokens * kSwizzledRowBytes)
      load_box(to, end - first < C::kBoxTokens ? in.last : in.box, k * C::kBlockK, first, shared.full[stage],
               kEvictLast);
  }
  __device__ void expect(int stage, const TilePlace& tile) {
    const int num_rows = min(C::kRows, view.size_n - tile.n0);
    const int num_tokens = max(0, min(tile.tokens, view.num_tokens - tile.first));
    barrier_expect(shared.full[stage], (num_rows + num_tokens) * kSwizzledRowBytes);
  }

  // Weights of the first stages are requested before the predecessor has ended.
  __device__ void run(const TileSchedule<C>& schedule, int k_begin, int k_end) {
    const int num_early = min(C::kStages, k_end - k_begin);
    TilePlace tile;
    if (!schedule.get(0, tile)) return;
    for (int i = 0; i < num_early; ++i) {
      expect(i, tile);
      load_weights(i, tile, k_begin + i);
    }
    wait_for_predecessor();
    release_successor();
    for (int i = 0; i < num_early; ++i) load_in(i, tile, k_begin + i);
    Ring<C> ring;
    ring.stage = num_early % C::kStages, ring.parity = num_early / C::kStages;
    bool is_used = ring.parity > 0;  // every stage has been filled before
    int k = k_begin + num_early;
    for (int i = 0; schedule.get(i, tile); ++i, k = k_begin) {
      for (; k < k_end; ++k) {
        if (is_used) barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);
        expect(ring.stage, tile);
        load_weights(ring.stage, tile, k);
        load_in(ring.stage, tile, k);
        ring.next();
        is_used = is_used || ring.stage == 0;
      }
    }
  }
};

// --- multiplying --------------------------------------------------------------------------------

__device__ inline void release_stage(uint64_t& empty) {
  if (threadIdx.x % kWarpSize == 0) barrier_arrive(empty);
}

// beside(): what is done while a block of K is multiplied.
template <class C, int kTokens, class F>
__device__ void multiply_tile(float (&sum)[kTokens / 2], TileGemmShared<C>& shared, uint8_t* stages, Ring<C>& ring,
                              int num_blocks, F&& beside) {
  const int group = threadIdx.x / 128;
  const uint64_t weights = tile_descriptor(stages + group * 64 * kSwizzledRowBytes),
                 in = tile_descriptor(stages + C::kWeightBytes);
  int previous = -1;
#pragma unroll 1
  for (int i = 0; i < num_blocks; ++i, ring.next()) {
    barrier_wait(shared.full[ring.stage], ring.parity);
    const uint64_t a = weights + ring.stage * (C::kStageBytes / 16), b = in + ring.stage * (C::kStageBytes / 16);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) wgmma_wide<typename C::T, kTokens>(sum, a + k * 2, b + k * 2, i > 0 || k > 0);
    wgmma_commit();
    wgmma_wait<1>();  // the block before this one is done
    if (previous >= 0) release_stage(shared.empty[previous]);
    previous = ring.stage;
    beside();
  }
  wgmma_wait<0>();
  release_stage(shared.empty[previous]);
  pin_registers(sum);
}

// --- results --------------------------------------------------------------------------------

__device__ inline void group_sync(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

// Two fragments, as store_fragments of four.
__device__ inline void store_fragments(void* to, uint32_t a, uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(shared_address(to)), "r"(a),
               "r"(b)
               : "memory");
}

// What turns sums of one tile into results, for the two rows (8 apart) of a thread. Made before the sums, so that
// nobody waits.
template <class C>
struct TileFinish {
  static constexpr bool kHasFactors = sizeof(typename C::T) == 1;
  static constexpr int kFactors = (C::kTokens + 127) / 128;
  float low_factor = 1, high_factor = 1, low_bias = 0, high_bias = 0, factors[kFactors];

  __device__ TileFinish(const TileGemmView& view, const TilePlace& tile) {
    const int n =
        tile.n0 + static_cast<int>(threadIdx.x) / kWarpSize * 16 + static_cast<int>(threadIdx.x) % kWarpSize / 4;
    if constexpr (kHasFactors) {
      if (n < view.size_n) low_factor = view.weight_scales[n];
      if (n + 8 < view.size_n) high_factor = view.weight_scales[n + 8];
#pragma unroll
      for (int i = 0; i < kFactors; ++i) {
        const int token = tile.first + i * 128 + static_cast<int>(threadIdx.x) % 128;
        factors[i] = token < view.num_tokens ? view.in_scales[token] : 0.0f;
      }
    }
    if (view.bias == nullptr) return;
    if (n < view.size_n) low_bias = to_float(view.bias[n]);
    if (n + 8 < view.size_n) high_bias = to_float(view.bias[n + 8]);
  }
  // By a whole warpgroup, before it stores.
  __device__ void share(TileGemmShared<C>& shared) const {
    const int group = threadIdx.x / 128;
    group_sync(group);  // the tile before has been stored
    if constexpr (kHasFactors) {
#pragma unroll
      for (int i = 0; i < kFactors; ++i) {
        const int token = i * 128 + static_cast<int>(threadIdx.x) % 128;
        if (token < C::kTokens) shared.factors[group][token] = factors[i];
      }
      group_sync(group);
    }
  }
  // Rows n and n + 8 by tokens t and t + 1: the values to store in the order of the sums. SwiGLU (gate and up rows lie
  // 8 apart: packing.cuh) leaves its two values in x and y.
  template <bool kIsSwiglu>
  __device__ float4 finished(const TileGemmShared<C>& shared, int token, float4 x) const {
    if constexpr (kHasFactors) {
      const float2 f = *reinterpret_cast<const float2*>(&shared.factors[threadIdx.x / 128][token]);
      x = {x.x * low_factor * f.x, x.y * low_factor * f.y, x.z * high_factor * f.x, x.w * high_factor * f.y};
    }
    if constexpr (kIsSwiglu) return {silu(x.x) * x.z, silu(x.y) * x.w, 0, 0};
    return {x.x + low_bias, x.y + low_bias, x.z + high_bias, x.w + high_bias};
  }
};

// Where a warpgroup's results of a tile go: 64 rows, or 32 after SwiGLU, through its staging memory, whose 16-byte
// pieces are swizzled, so that memory sees rows of 128 or 64 bytes.
template <class C, bool kIsSwiglu>
struct TileStore {
  static constexpr int kPieces = kIsSwiglu ? 4 : 8;  // of 16 bytes, a token
  static constexpr int kPitch = kPieces * 16;
  static constexpr int kUnitWords = kIsSwiglu ? 1 : 2;  // of 8 tokens, of a thread
  const TileGemmView& view;
  uint8_t* staging;
  int thread, group, first;  // first: token of the tile
  __nv_bfloat16* to;         // this thread's piece of the tile's token thread / kPieces
  bool has_piece;

  __device__ TileStore(const TileGemmView& view, uint8_t* staging, const TilePlace& tile)
      : view(view), staging(staging), thread(threadIdx.x % 128), group(threadIdx.x / 128), first(tile.first) {
    const int divisor = kIsSwiglu ? 2 : 1, column = (tile.n0 + group * 64) / divisor + thread % kPieces * 8;
    to = static_cast<__nv_bfloat16*>(view.out) + (first + thread / kPieces) * view.out_stride + column;
    has_piece = column < view.size_n / divisor;
  }
  static __device__ int piece_at(int token, int piece) {
    return token * kPitch + (piece ^ (kIsSwiglu ? token / 2 % 4 : token % 8)) * 16;
  }
  // kUnits times 8 tokens from `token` of the tile on; unit(u) are the finished values of one.
  template <int kUnits, class F>
  __device__ void chunk(int number, int token, F&& unit) {
    uint32_t packed[kUnits * kUnitWords];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) pack(packed + u * kUnitWords, unit(u));
    store_packed<kUnits>(number, token, packed);
  }
  static __device__ void pack(uint32_t* packed, float4 x) {
    packed[0] = pack_bf16(x.x, x.y);
    if constexpr (!kIsSwiglu) packed[1] = pack_bf16(x.z, x.w);
  }
  template <int kUnits>
  __device__ void store_packed(int number, int token, const uint32_t* packed) {
    static_assert(kUnits % (kIsSwiglu ? 4 : 2) == 0 && kUnits * 8 <= C::kChunkTokens);
    const int lane = thread % kWarpSize, warp = thread / kWarpSize;
    uint8_t* buffer = staging;
    if constexpr (kIsSwiglu) {
      buffer += number % 2 * (C::kStagingBytes / 2);
#pragma unroll
      for (int u = 0; u < kUnits; u += 4)
        store_fragments(buffer + piece_at(u * 8 + lane, warp), packed[u], packed[u + 1], packed[u + 2], packed[u + 3]);
    } else {
      if (number > 0) group_sync(group);  // the chunk before has been read
#pragma unroll
      for (int u = 0; u < kUnits; u += 2)
        store_fragments(buffer + piece_at((u + lane / 16) * 8 + lane % 8, warp * 2 + lane / 8 % 2), packed[u * 2],
                        packed[u * 2 + 1], packed[u * 2 + 2], packed[u * 2 + 3]);
    }
    group_sync(group);
    constexpr int kTokensAtOnce = 128 / kPieces, kSteps = kUnits * 8 / kTokensAtOnce;
    const int row = thread / kPieces;
    uint4 pieces[kSteps > 0 ? kSteps : 1];
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      pieces[i] = *reinterpret_cast<const uint4*>(buffer + piece_at(row + i * kTokensAtOnce, thread % kPieces));
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int at = token + i * kTokensAtOnce;
      if (has_piece && first + at + row < view.num_tokens)
        *reinterpret_cast<uint4*>(to + at * view.out_stride) = pieces[i];
    }
  }
};

// fp32 results straight to memory: of 8 tokens.
template <class C>
__device__ void store_f32(const TileGemmView& view, const TilePlace& tile, int first_token, float4 x) {
  const int lane = threadIdx.x % kWarpSize, n = tile.n0 + static_cast<int>(threadIdx.x) / kWarpSize * 16 + lane / 4;
  const int token = tile.first + first_token + lane % 4 * 2;
  float* to = static_cast<float*>(view.out) + token * view.out_stride + n;
  if (token < view.num_tokens && n < view.size_n) to[0] = x.x;
  if (token < view.num_tokens && n + 8 < view.size_n) to[8] = x.z;
  if (token + 1 < view.num_tokens && n < view.size_n) to[view.out_stride] = x.y;
  if (token + 1 < view.num_tokens && n + 8 < view.size_n) to[view.out_stride + 8] = x.w;
}

template <class C, int kTokens, bool kIsSwiglu>
__device__ void store_sums_bf16(const TileGemmView& view, const TileGemmShared<C>& shared, const TileFinish<C>& finish,
                                uint8_t* staging, const TilePlace& tile, const float (&sum)[kTokens / 2]) {
  constexpr int kChunk = C::kChunkTokens, kWhole = kTokens / kChunk;
  TileStore<C, kIsSwiglu> store(view, staging, tile);
  const int pair = threadIdx.x % 4 * 2;
  const auto unit = [&](int u) {
    return finish.template finished<kIsSwiglu>(shared, u * 8 + pair,
                                               {sum[u * 4], sum[u * 4 + 1], sum[u * 4 + 2], sum[u * 4 + 3]});
  };
#pragma unroll
  for (int c = 0; c < kWhole; ++c) {
    if (tile.first + c * kChunk >= view.num_tokens) return;
    store.template chunk<kChunk / 8>(c, c * kChunk, [&](int u) { return unit(c * (kChunk / 8) + u); });
  }
  if constexpr (kTokens % kChunk != 0) {
    if (tile.first + kWhole * kChunk >= view.num_tokens) return;
    store.template chunk<kTokens % kChunk / 8>(kWhole, kWhole * kChunk,
                                               [&](int u) { return unit(kWhole * (kChunk / 8) + u); });
  }
}

// Results of a tile in bf16 that wait in registers while the next one is multiplied: as many as find room.
template <class C, bool kIsSwiglu>
struct DeferredResults {
  using Store = TileStore<C, kIsSwiglu>;
  static constexpr int kChunks = C::kTokens / C::kChunkTokens, kChunkUnits = C::kChunkTokens / 8;
  static constexpr int kAtOnce = kIsSwiglu || C::kTokens < 256 ? 0 : kChunks / 2;  // chunks that do not wait
  static constexpr int kChunkWords = kChunkUnits * Store::kUnitWords;
  static_assert(C::kTokens % C::kChunkTokens == 0);
  uint32_t packed[(kChunks - kAtOnce) * kChunkWords];
  TilePlace tile;
  int next = kChunks;  // chunk

  __device__ void put(const TileGemmView& view, const TileGemmShared<C>& shared, const TileFinish<C>& finish,
                      uint8_t* staging, const TilePlace& of, const float (&sum)[C::kTokens / 2]) {
    const int pair = threadIdx.x % 4 * 2;
    const auto unit = [&](int u) {
      return finish.template finished<kIsSwiglu>(shared, u * 8 + pair,
                                                 {sum[u * 4], sum[u * 4 + 1], sum[u * 4 + 2], sum[u * 4 + 3]});
    };
    tile = of, next = kAtOnce;
    if constexpr (kAtOnce > 0) {
      Store to(view, staging, tile);
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c)
        to.template chunk<kChunkUnits>(c, c * C::kChunkTokens, [&](int u) { return unit(c * kChunkUnits + u); });
    }
#pragma unroll
    for (int u = 0; u < (kChunks - kAtOnce) * kChunkUnits; ++u)
      Store::pack(packed + u * Store::kUnitWords, unit(kAtOnce * kChunkUnits + u));
  }
  __device__ void store_next(const TileGemmView& view, uint8_t* staging) {
    if (next == kChunks) return;
    Store to(view, staging, tile);
#pragma unroll
    for (int c = kAtOnce; c < kChunks; ++c)
      if (c == next)
        to.template store_packed<kChunkUnits>(c, c * C::kChunkTokens, packed + (c - kAtOnce) * kChunkWords);
    ++next;
  }
  __device__ void store_all(const TileGemmView& view, uint8_t* staging) {
#pragma unroll 1
    while (next < kChunks) store_next(view, staging);
  }
};

template <class C, int kTokens>
__device__ void store_sums(const TileGemmView& view, const TileGemmShared<C>& shared, const TileFinish<C>& finish,
                           uint8_t* staging, const TilePlace& tile, const float (&sum)[kTokens / 2]) {
  if (view.is_swiglu) return store_sums_bf16<C, kTokens, true>(view, shared, finish, staging, tile, sum);
  if (!view.is_f32) return store_sums_bf16<C, kTokens, false>(view, shared, finish, staging, tile, sum);
#pragma unroll
  for (int u = 0; u < kTokens / 8; ++u)
    store_f32<C>(view, tile, u * 8,
                 finish.template finished<false>(shared, u * 8 + threadIdx.x % 4 * 2,
                                                 {sum[u * 4], sum[u * 4 + 1], sum[u * 4 + 2], sum[u * 4 + 3]}));
}

__device__ inline void store_to_block(const float4* p, int block_rank, float4 x) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "st.shared::cluster.v4.f32 [remote], {%2, %3, %4, %5};\n}" ::"r"(shared_address(p)),
      "r"(block_rank), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
      : "memory");
}

// Shares of one tile: every block sends its sums for 32 tokens to the block that finishes those, into stages that no
// copy writes any more. Share j finishes the pieces of 32 tokens from part_begin(j) on.
template <class C>
__device__ int part_begin(const TileGemmView& view, int share) {
  return (share * (C::kTokens / 32) + view.split - 1) / view.split;
}

template <class C>
__device__ void send_sums(const TileGemmView& view, int share, uint8_t* stages, const float (&sum)[C::kTokens / 2]) {
  constexpr int kParts = C::kTokens / 32;
  auto* parts = reinterpret_cast<float4*>(stages);  // [part][unit of four][share][thread]
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int owner = part * view.split / kParts;
    float4* to =
        parts + ((part - part_begin<C>(view, owner)) * 4 * view.split + share) * C::kConsumers + threadIdx.x;
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const int e = part * 16 + u * 4;
      const float4 x{sum[e], sum[e + 1], sum[e + 2], sum[e + 3]};
      float4* at = to + u * view.split * C::kConsumers;
      if (owner == share)
        *at = x;
      else
        store_to_block(at, owner, x);
    }
  }
}

template <class C, class F>
__device__ void finish_shares(const TileGemmView& view, int share, const uint8_t* stages, const TilePlace& tile,
                              F&& store) {
  const auto* parts = reinterpret_cast<const float4*>(stages);
  const int begin = part_begin<C>(view, share), end = part_begin<C>(view, share + 1);
  for (int part = begin; part < end; ++part) {
    if (tile.first + part * 32 >= view.num_tokens) return;
    store(part - begin, part * 32, [&](int u) {
      const float4* from = parts + ((part - begin) * 4 + u) * view.split * C::kConsumers + threadIdx.x;
      float4 total = from[0];
      for (int of_share = 1; of_share < view.split; ++of_share) {
        const float4 other = from[of_share * C::kConsumers];
        total.x += other.x, total.y += other.y, total.z += other.z, total.w += other.w;
      }
      return total;
    });
  }
}

template <class C>
__device__ void store_shares(const TileGemmView& view, int share, const TileGemmShared<C>& shared,
                             const TileFinish<C>& finish, const uint8_t* stages, uint8_t* staging,
                             const TilePlace& tile) {
  const int pair = threadIdx.x % 4 * 2;
  const auto store_as = [&](auto is_swiglu) {
    constexpr bool kIsSwiglu = decltype(is_swiglu)::value;
    TileStore<C, kIsSwiglu> to(view, staging, tile);
    finish_shares<C>(view, share, stages, tile, [&](int number, int token, auto&& sum_of) {
      to.template chunk<4>(number, token, [&](int u) {
        return finish.template finished<kIsSwiglu>(shared, token + u * 8 + pair, sum_of(u));
      });
    });
  };
  if (view.is_swiglu) return store_as(std::true_type{});
  if (!view.is_f32) return store_as(std::false_type{});
  finish_shares<C>(view, share, stages, tile, [&](int, int token, auto&& sum_of) {
    for (int u = 0; u < 4; ++u)
      store_f32<C>(view, tile, token + u * 8, finish.template finished<false>(shared, token + u * 8 + pair, sum_of(u)));
  });
}

template <int kCount>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

template <class C>
struct TileConsumer {
  const TileGemmView& view;
  TileGemmShared<C>& shared;
  uint8_t *stages, *staging;
  int share, k_begin, k_end;
  Ring<C> ring = {};

  template <int kTokens>
  __device__ void take(const TilePlace& tile) {
    const TileFinish<C> finish(view, tile);
    float sum[kTokens / 2];
    multiply_tile<C, kTokens>(sum, shared, stages, ring, k_end - k_begin, [] {});
    finish.share(shared);
    if constexpr (kTokens == C::kTokens) {
      if (view.split > 1) {  // one tile a block: the stages are not needed any more
        cluster_sync();
        send_sums<C>(view, share, stages, sum);
        cluster_sync();
        return store_shares<C>(view, share, shared, finish, stages, staging, tile);
      }
    }
    store_sums<C, kTokens>(view, shared, finish, staging, tile, sum);
  }
  template <bool kIsSwiglu>
  __device__ void take_deferred(const TilePlace& tile, DeferredResults<C, kIsSwiglu>& results) {
    const TileFinish<C> finish(view, tile);
    float sum[C::kTokens / 2];
    multiply_tile<C, C::kTokens>(sum, shared, stages, ring, k_end - k_begin,
                                 [&] { results.store_next(view, staging); });
    results.store_all(view, staging);
    finish.share(shared);
    results.put(view, shared, finish, staging, tile, sum);
  }
  template <bool kIsSwiglu>
  __device__ void run_deferred(const TileSchedule<C>& schedule) {
    TilePlace tile;
    DeferredResults<C, kIsSwiglu> results;
    int i = 0;
    for (; schedule.get(i, tile); ++i) {  // narrow ones come last
      if constexpr (C::kHasNarrow)
        if (tile.tokens != C::kTokens) break;
      take_deferred(tile, results);
    }
    results.store_all(view, staging);
    if constexpr (C::kHasNarrow)
      for (; schedule.get(i, tile); ++i) take<C::kTokens / 2>(tile);
  }
  __device__ void run(const TileSchedule<C>& schedule) {
    TilePlace tile;
    wait_for_predecessor();  // the tokens' factors are of its making
    if constexpr (C::kDefers)
      if (view.split == 1 && !view.is_f32)
        return view.is_swiglu ? run_deferred<true>(schedule) : run_deferred<false>(schedule);
    for (int i = 0; schedule.get(i, tile); ++i) {
      if constexpr (C::kHasNarrow)
        if (tile.tokens != C::kTokens) {
          take<C::kTokens / 2>(tile);
          continue;
        }
      take<C::kTokens>(tile);
    }
  }
};

template <class C>
__global__ void __launch_bounds__(C::kBoundThreads, 1)
    tile_gemm_kernel(const __grid_constant__ BoxedMatrix weights, const __grid_constant__ BoxedMatrix in,
                     const __grid_constant__ TileGemmView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ TileGemmShared<C> shared;
  uint8_t* stages = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  if (threadIdx.x == 0) {
    prefetch_map(weights.box);
    prefetch_map(in.box);
    prefetch_map(in.last);
    for (int s = 0; s < C::kStages; ++s) {
      barrier_init(shared.full[s], 1);
      barrier_init(shared.empty[s], C::kConsumers / kWarpSize);
    }
    fence_barrier_init();
  }
  if (view.split > 1)
    cluster_sync();
  else
    __syncthreads();
  const TileSchedule<C> schedule(view);
  const int share = static_cast<int>(blockIdx.x) % view.split;
  const int k_begin = view.num_k_blocks * share / view.split, k_end = view.num_k_blocks * (share + 1) / view.split;
  if (threadIdx.x < C::kConsumers) {
    take_registers<C::kConsumerRegisters>();
    uint8_t* staging = stages + C::kStages * C::kStageBytes + threadIdx.x / 128 * C::kStagingBytes;
    TileConsumer<C>{view, shared, stages, staging, share, k_begin, k_end}.run(schedule);
  } else {
    give_registers<C::kProducerRegisters>();
    if (threadIdx.x == C::kConsumers)
      TileProducer<C>{weights, in, view, shared, stages}.run(schedule, k_begin, k_end);
    __syncwarp();
    if (view.split > 1) cluster_sync(), cluster_sync();
  }
}

}  // namespace gale::cuda
