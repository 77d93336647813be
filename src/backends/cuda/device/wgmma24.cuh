#pragma once

#include <cuda_fp16.h>

#include <type_traits>

#include "backends/cuda/device/wgmma.cuh"

// Warpgroup products of sm_90a for attention: d[64, 24] += a[64, 16] * b[24, 16], bf16 or fp16. Accumulators as in
// wgmma.cuh.
namespace gale::cuda {

#define GALE_D_24                                                                                             \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
      "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define GALE_WGMMA_24(types, tail)                                                           \
  asm volatile(                                                                              \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %14, 0;\n"                                           \
      "wgmma.mma_async.sync.aligned.m64n24k16.f32." types                                    \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11}, %12, %13, p, 1, 1, " tail ";\n}" \
      : GALE_D_24                                                                            \
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define GALE_WGMMA_24_OF_REGISTERS(types)                                                              \
  asm volatile(                                                                                        \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %17, 0;\n"                                                     \
      "wgmma.mma_async.sync.aligned.m64n24k16.f32." types                                              \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11}, {%12, %13, %14, %15}, %16, p, 1, 1, 0;\n}" \
      : GALE_D_24                                                                                      \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)))

// Both operands from shared memory. kIsTransposed: a lies as [16 of K][64], rows of K 128 bytes apart, swizzled alike;
// its next 16 of K are + 128 in the descriptor. accumulate false: d is overwritten.
template <class T, bool kIsTransposed>
__device__ void wgmma_24(float (&d)[12], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(std::is_same_v<T, __nv_bfloat16>);
  if constexpr (kIsTransposed) {
    GALE_WGMMA_24("bf16.bf16", "1, 0");
  } else {
    GALE_WGMMA_24("bf16.bf16", "0, 0");
  }
}

// a from registers, as PTX mma.m16n8k16 lays it out in each of the four warps; they must stay as they are until the
// product is done (keep_registers after wgmma_wait).
template <class T>
__device__ void wgmma_24(float (&d)[12], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(std::is_same_v<T, __half>);
  GALE_WGMMA_24_OF_REGISTERS("f16.f16");
}

// d[64, 48] += a[64, 32] * b[48, 32] of e4m3, both from shared memory.
__device__ inline void wgmma_48(float (&d)[24], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %26, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n48k32.f32.e4m3.e4m3"
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23},"
      " %24, %25, p, 1, 1;\n}"
      : GALE_D_24, "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
        "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

template <int kCount>
__device__ void keep_registers(uint32_t (&a)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

#undef GALE_D_24
#undef GALE_WGMMA_24
#undef GALE_WGMMA_24_OF_REGISTERS

}  // namespace gale::cuda
