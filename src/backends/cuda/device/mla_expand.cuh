#pragma once

#include "backends/cuda/device/mla_gather.cuh"

// Keys and values of MLA's heads from cached latents, for sm_90a: first the cached rows of the sequences' pieces side
// by side, in bf16; then key[t, h] = W_UK[h]^T latent[t] and value[t, h] = W_UV[h] latent[t]. A unit of the second is
// 128 tokens by one head's keys or values; blocks take units in turn, one thread fills a ring of stages of 64 latent
// dimensions, two warpgroups multiply. Limited by the tensor cores.
namespace gale::cuda {

// --- keys and values -----------------------------------------------------------------------------------------------

struct Expand {
  static constexpr int kTokens = 128, kStages = 3, kSteps = kLatentDim / 64;
  static constexpr int kConsumers = 256, kThreads = kSharingThreads;
  static constexpr int kTokenBytes = kTokens * kSwizzledRowBytes, kWeightBytes = kHeadValueDim * kSwizzledRowBytes;
  static constexpr int kStageBytes = kTokenBytes + kWeightBytes;
  static constexpr int kKeyColumn = 64 * kSwizzledRowBytes;                     // 64 latent dimensions by 64 of the key
  static constexpr int kOutColumn = 64 * kSwizzledRowBytes;                     // a group's tokens by 64 dimensions
  static constexpr int kOutBytes = kHeadValueDim / 64 * kOutColumn;             // of a group
  static constexpr int kSharedBytes = kStages * kStageBytes + 2 * kOutBytes + 1024;
};

struct ExpandMaps { CUtensorMap latents, w_uk, w_uv, keys, values; };
struct ExpandView { int num_tiles, num_heads; };
struct ExpandBarriers { uint64_t full[Expand::kStages], empty[Expand::kStages]; };

// Values first: their units take longest.
struct ExpandUnit {
  bool is_key;
  int head, first_token;
  __device__ ExpandUnit(const ExpandView& view, int unit) {
    const int half = view.num_tiles * view.num_heads;
    is_key = unit >= half;
    const int inside = is_key ? unit - half : unit;
    head = inside / view.num_tiles, first_token = inside % view.num_tiles * Expand::kTokens;
  }
};

__device__ inline void expand_load_weights(const ExpandMaps& maps, const ExpandUnit& unit, int step, uint8_t* to,
                                           uint64_t& barrier) {
  if (unit.is_key) {
#pragma unroll
    for (int i = 0; i < kNopeDim / 64; ++i)
      load_box(to + i * Expand::kKeyColumn, maps.w_uk, i * 64, unit.head * kLatentDim + step * 64, barrier, kEvictLast);
  } else {
    load_box(to, maps.w_uv, step * 64, unit.head * kHeadValueDim, barrier, kEvictLast);
  }
}

// By one thread. Weights of the first stages are asked for while the predecessor still runs.
__device__ inline void expand_produce(const ExpandMaps& maps, const ExpandView& view, ExpandBarriers& barriers,
                                      uint8_t* stages) {
  const int num_units = 2 * view.num_tiles * view.num_heads;
  Ring<Expand> ring;
  int loaded = 0;
  for (int number = blockIdx.x; number < num_units; number += gridDim.x) {
    const ExpandUnit unit(view, number);
    const int weight_bytes = unit.is_key ? kNopeDim / 64 * Expand::kKeyColumn : Expand::kWeightBytes;
    const auto begin = [&](int stage, int step) {
      barrier_expect(barriers.full[stage], weight_bytes + Expand::kTokenBytes);
      uint8_t* weights = stages + stage * Expand::kStageBytes + Expand::kTokenBytes;
      expand_load_weights(maps, unit, step, weights, barriers.full[stage]);
    };
    if (loaded == 0) {
      for (int s = 0; s < Expand::kStages; ++s) begin(s, s);
      wait_for_predecessor();
      release_successor();
    }
    for (int step = 0; step < Expand::kSteps; ++step, ++loaded, ring.next()) {
      if (loaded >= Expand::kStages) {
        barrier_wait(barriers.empty[ring.stage], ring.parity ^ 1);
        begin(ring.stage, step);
      }
      uint8_t* tokens = stages + ring.stage * Expand::kStageBytes;
      load_box(tokens, maps.latents, step * 64, unit.first_token, barriers.full[ring.stage], kEvictLast);
    }
  }
}

__device__ inline void store_box(const CUtensorMap& map, const void* from, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];"
               ::"l"(&map), "r"(shared_address(from)), "r"(column), "r"(row) : "memory");
}
__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
__device__ inline void wait_until_stores_have_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ inline void wait_for_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Four 8 x 8 fragments: lane l gives where row l % 8 of fragment l / 8 goes.
__device__ inline void store_matrices(void* to, const uint32_t (&x)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
               ::"r"(shared_address(to)), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]) : "memory");
}

// A group's 64 tokens of a unit.
template <bool kIsKey>
__device__ void expand_consume(const ExpandMaps& maps, const ExpandUnit& unit, ExpandBarriers& barriers,
                               uint8_t* stages, uint8_t* out, Ring<Expand>& ring, int group, int warp, int lane) {
  constexpr int kColumns = kIsKey ? kNopeDim : kHeadValueDim, kStep = kIsKey ? kTransposedStep : kPlainStep;
  float sum[kColumns / 2];
#pragma unroll
  for (float& x : sum) x = 0;
  int previous = -1;
#pragma unroll 1
  for (int step = 0; step < Expand::kSteps; ++step, ring.next()) {
    barrier_wait(barriers.full[ring.stage], ring.parity);
    uint8_t* stage = stages + ring.stage * Expand::kStageBytes;
    const uint64_t tokens = tile_descriptor(stage + group * 64 * kSwizzledRowBytes);
    const uint64_t weights = kIsKey ? transposed_descriptor(stage + Expand::kTokenBytes, Expand::kKeyColumn)
                                    : tile_descriptor(stage + Expand::kTokenBytes);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) wgmma_wide<kColumns, kIsKey>(sum, tokens + k * kPlainStep, weights + k * kStep, true);
    wgmma_commit();
    wgmma_wait<1>();   // the step before this one is done
    if (previous >= 0) release(barriers.empty[previous], lane);
    previous = ring.stage;
  }
  wgmma_wait<0>();
  pin_registers(sum);
  release(barriers.empty[previous], lane);
  if (threadIdx.x % 128 == 0) wait_until_stores_have_read();   // of the unit before
  group_sync(group);
#pragma unroll
  for (int j = 0; j < kColumns / 8; j += 2) {
    const int row = warp * 16 + lane % 16, chunk = j + lane / 16;
    uint32_t x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 4 * (j + i / 2) + 2 * (i % 2);
      x[i] = pack_bf16(sum[at], sum[at + 1]);
    }
    store_matrices(out + chunk / 8 * Expand::kOutColumn + row * kSwizzledRowBytes + ((chunk % 8) ^ (row & 7)) * 16, x);
  }
  fence_async_proxy();
  group_sync(group);
  if (threadIdx.x % 128 != 0) return;
#pragma unroll
  for (int i = 0; i < kColumns / 64; ++i) {
    const CUtensorMap& map = kIsKey ? maps.keys : maps.values;
    store_box(map, out + i * Expand::kOutColumn, unit.head * kColumns + i * 64, unit.first_token + group * 64);
  }
  commit_stores();
}

__global__ void __launch_bounds__(Expand::kThreads, 1)
    mla_expand_kernel(const __grid_constant__ ExpandMaps maps, const __grid_constant__ ExpandView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ ExpandBarriers barriers;
  uint8_t* stages = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  if (threadIdx.x == 0) {
    for (int s = 0; s < Expand::kStages; ++s)
      barrier_init(barriers.full[s], 1), barrier_init(barriers.empty[s], Expand::kConsumers / kWarpSize);
    fence_barrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= Expand::kConsumers) {
    give_registers();
    if (threadIdx.x == Expand::kConsumers) expand_produce(maps, view, barriers, stages);
    return;
  }
  take_registers();
  wait_for_predecessor();   // nothing is written before
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize % 4, group = own_warpgroup();
  uint8_t* out = stages + Expand::kStages * Expand::kStageBytes + group * Expand::kOutBytes;
  Ring<Expand> ring;
  for (int number = blockIdx.x; number < 2 * view.num_tiles * view.num_heads; number += gridDim.x) {
    const ExpandUnit unit(view, number);
    if (unit.is_key) {
      expand_consume<true>(maps, unit, barriers, stages, out, ring, group, warp, lane);
    } else {
      expand_consume<false>(maps, unit, barriers, stages, out, ring, group, warp, lane);
    }
  }
  if (threadIdx.x % 128 == 0) wait_for_stores();
}

}  // namespace gale::cuda
