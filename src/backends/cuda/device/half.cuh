#pragma once

#include <cuda_fp16.h>

#include "backends/cuda/device/common.cuh"

// FP8 keys and values as fp16 operands: every e4m3 is an fp16, and cards convert two at once.
namespace gale::cuda {

// The lower and the upper two e4m3 bytes of x as pairs.
__device__ inline void widen_to_half(uint32_t x, uint32_t& low, uint32_t& high) {
#if __CUDA_ARCH__ >= 890
  asm("{\n.reg .b16 a, b;\nmov.b32 {a, b}, %2;\ncvt.rn.f16x2.e4m3x2 %0, a;\ncvt.rn.f16x2.e4m3x2 %1, b;\n}"
      : "=r"(low), "=r"(high)
      : "r"(x));
#else
  // A byte shifted into place is an fp16 that is 2^8 too small.
  const auto placed = [](uint32_t bytes) {
    const uint32_t shifted = (bytes & 0x80008000u) | (bytes & 0x7f007f00u) >> 1;
    const __half2 value = __hmul2(*reinterpret_cast<const __half2*>(&shifted), __float2half2_rn(256.0f));
    return *reinterpret_cast<const uint32_t*>(&value);
  };
  low = placed(__byte_perm(x, 0, 0x1404)), high = placed(__byte_perm(x, 0, 0x3424));
#endif
}

__device__ inline uint32_t pack_half(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Of a pair of bf16: exact but for what fp16 cannot hold; large values saturate.
__device__ inline uint32_t half_of_bf16(uint32_t pair) {
  constexpr float kMost = 65504.0f;
  const float2 x = floats_of_bf16(pair);
  return pack_half(fminf(fmaxf(x.x, -kMost), kMost), fminf(fmaxf(x.y, -kMost), kMost));
}

// mma_m16n8k16 of fp16.
__device__ inline void mma_m16n8k16_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace gale::cuda
