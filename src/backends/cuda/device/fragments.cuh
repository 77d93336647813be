#pragma once

#include "backends/cuda/device/hopper.cuh"

// Results of a warpgroup product on their way to memory.
namespace gale::cuda {

__device__ inline uint32_t pack_bf16(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Four 8 x 8 fragments, transposed: lane l gives where column l % 8 of fragment l / 8 goes.
__device__ inline void store_fragments(void* to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

}  // namespace gale::cuda
