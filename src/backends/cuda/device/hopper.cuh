#pragma once

#include <cuda.h>

#include "backends/cuda/device/common.cuh"
#include "backends/cuda/device/mma.cuh"

// Barriers in shared memory, the tensor copy engine and clusters of sm_90.
namespace gale::cuda {

// --- barriers -------------------------------------------------------------------------------------------------------------------

__device__ inline void barrier_init(uint64_t& barrier, int num_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(num_arrivals) : "memory");
}
// After barrier_init, before other threads or the copy engine use the barriers.
__device__ inline void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// An arrival that also announces bytes which copies will bring.
__device__ inline void barrier_expect(uint64_t& barrier, int num_bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(num_bytes) : "memory");
}
__device__ inline void barrier_arrive(uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
// The same barrier in another block of the cluster.
__device__ inline void barrier_arrive_at(uint64_t& barrier, int block_rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(&barrier)), "r"(block_rank) : "memory");
}
// Waits until the phase of this parity is complete.
__device__ inline void barrier_wait(uint64_t& barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "WAIT_AGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra WAIT_DONE;\n"
      "bra WAIT_AGAIN;\n"
      "WAIT_DONE:\n}" ::"r"(shared_address(&barrier)), "r"(parity) : "memory");
}

// A place in a ring of C::kStages stages, and the parity of their barriers there.
template <class C>
struct Ring {
  int stage = 0, parity = 0;
  __device__ void next() {
    if (++stage == C::kStages) stage = 0, parity ^= 1;
  }
};

// Makes this thread's finished writes to shared memory visible to wgmma and the copy engine.
__device__ inline void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// --- copy engine ------------------------------------------------------------------------------------------------------------------

// What a line of L2 that is loaded should become.
inline constexpr uint64_t kEvictFirst = 0x12F0000000000000, kEvictNormal = 0x1000000000000000, kEvictLast = 0x14F0000000000000;

// The box of a 2-d tensor that begins at (column, row) into shared memory; its bytes count on the barrier.
__device__ inline void load_box(void* to, const CUtensorMap& map, int column, int row, uint64_t& barrier, uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;"
      ::"r"(shared_address(to)), "l"(&map), "r"(shared_address(&barrier)), "r"(column), "r"(row), "l"(cache_hint) : "memory");
}
// The same into every block of the cluster whose bit is set, at the same offsets.
__device__ inline void load_box_into(uint16_t blocks, void* to, const CUtensorMap& map, int column, int row, uint64_t& barrier,
                                     uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint"
      " [%0], [%1, {%4, %5}], [%2], %3, %6;"
      ::"r"(shared_address(to)), "l"(&map), "r"(shared_address(&barrier)), "h"(blocks), "r"(column), "r"(row), "l"(cache_hint) : "memory");
}
__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// --- clusters ---------------------------------------------------------------------------------------------------------------------

// All threads of all blocks of the cluster; orders their accesses to each other's shared memory.
__device__ inline void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Four floats at the address that `p` has in another block of the cluster.
__device__ inline float4 load_from_block(const float4* p, int block_rank) {
  float4 x;
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n}"
      : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "r"(shared_address(p)), "r"(block_rank) : "memory");
  return x;
}

}  // namespace gale::cuda
