#pragma once

#include "backends/cuda/device/common.cuh"
#include "backends/cuda/device/mma.cuh"

// Warpgroup products of sm_90a: d[64, kTokens] += a[64, 32 bytes of K] * b[kTokens, 32 bytes of K], both from shared memory where
// rows are 128 bytes, swizzled as the copy engine's 128-byte mode leaves them. A thread holds, for each 8 columns j, d[4 j …] =
// (row g, column 8 j + 2 t), (g, … + 1), (g + 8, …), (g + 8, … + 1) with g = lane / 4 + 16 * warp of the group, t = lane % 4.
namespace gale::cuda {

inline constexpr int kSwizzledRowBytes = 128;

// The same in all threads of the warp, and the compiler knows: descriptors that come of it stay in uniform registers,
// instead of being brought there before each product.
__device__ inline int uniform(int x) { return __shfl_sync(kFullMask, x, 0); }
__device__ inline int own_warpgroup() { return uniform(static_cast<int>(threadIdx.x) / 128); }

// Of a tile that begins at a multiple of 1024 bytes, of rows of 128 bytes, or of 64 as the copy engine's 64-byte mode
// leaves them; + 2 moves it 32 bytes along K. kGroupBytes: from eight rows to the next eight.
template <int kRowBytes = kSwizzledRowBytes, int kGroupBytes = 8 * kRowBytes>
__device__ uint64_t tile_descriptor(const void* tile) {
  static_assert(kRowBytes == 128 || kRowBytes == 64);
  constexpr uint64_t kSwizzle = uint64_t{kRowBytes == 128 ? 1 : 2} << 62,
                     kEightRows = uint64_t{kGroupBytes / 16} << 32, kUnused = uint64_t{1} << 16;
  return kSwizzle | kEightRows | kUnused | (shared_address(tile) & 0x3FFFFu) >> 4;
}

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory"); }

// Keeps the compiler from moving uses of the registers across this point.
template <int kCount>
__device__ void pin_registers(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define GALE_NAMES_4 "%0, %1, %2, %3"
#define GALE_NAMES_8X "%0, %1, %2, %3, %4, %5, %6, %7"
#define GALE_NAMES_16X GALE_NAMES_8X ", %8, %9, %10, %11, %12, %13, %14, %15"
#define GALE_NAMES_32X GALE_NAMES_16X ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define GALE_NAMES_64X GALE_NAMES_32X ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
                                      ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define GALE_REGISTERS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define GALE_REGISTERS_8(i) GALE_REGISTERS_4(i), GALE_REGISTERS_4(i + 4)
#define GALE_REGISTERS_16(i) GALE_REGISTERS_8(i), GALE_REGISTERS_8(i + 8)
#define GALE_REGISTERS_32(i) GALE_REGISTERS_16(i), GALE_REGISTERS_16(i + 16)
#define GALE_REGISTERS_64(i) GALE_REGISTERS_32(i), GALE_REGISTERS_32(i + 32)

// names: of the registers; a, b, p: of descriptors and flag, the operands behind them.
#define GALE_WGMMA(instruction, names, a_name, b_name, flag_name, tail, registers)                                   \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name ", 0;\n"                                                 \
               "wgmma.mma_async.sync.aligned." instruction " {" names "}, " a_name ", " b_name ", p, 1, 1" tail ";\n}"  \
               : registers : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define GALE_WGMMA_OF_TYPE(instruction_k, types, tail)                                                                  \
  if constexpr (kTokens == 8) {                                                                                          \
    GALE_WGMMA("m64n8" instruction_k types, GALE_NAMES_4, "%4", "%5", "%6", tail, GALE_REGISTERS_4(0));                  \
  } else if constexpr (kTokens == 16) {                                                                                  \
    GALE_WGMMA("m64n16" instruction_k types, GALE_NAMES_8X, "%8", "%9", "%10", tail, GALE_REGISTERS_8(0));               \
  } else if constexpr (kTokens == 32) {                                                                                  \
    GALE_WGMMA("m64n32" instruction_k types, GALE_NAMES_16X, "%16", "%17", "%18", tail, GALE_REGISTERS_16(0));           \
  } else if constexpr (kTokens == 64) {                                                                                  \
    GALE_WGMMA("m64n64" instruction_k types, GALE_NAMES_32X, "%32", "%33", "%34", tail, GALE_REGISTERS_32(0));           \
  } else {                                                                                                               \
    GALE_WGMMA("m64n128" instruction_k types, GALE_NAMES_64X, "%64", "%65", "%66", tail, GALE_REGISTERS_64(0));          \
  }

// accumulate false: d is overwritten.
template <class T, int kTokens>
__device__ void wgmma(float (&d)[kTokens / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kTokens == 8 || kTokens == 16 || kTokens == 32 || kTokens == 64 || kTokens == 128);
  if constexpr (sizeof(T) == 1) {
    GALE_WGMMA_OF_TYPE("k32", ".f32.e4m3.e4m3", "")
  } else {
    GALE_WGMMA_OF_TYPE("k16", ".f32.bf16.bf16", ", 0, 0")
  }
}

#undef GALE_NAMES_4
#undef GALE_NAMES_8X
#undef GALE_NAMES_16X
#undef GALE_NAMES_32X
#undef GALE_NAMES_64X
#undef GALE_REGISTERS_4
#undef GALE_REGISTERS_8
#undef GALE_REGISTERS_16
#undef GALE_REGISTERS_32
#undef GALE_REGISTERS_64
#undef GALE_WGMMA
#undef GALE_WGMMA_OF_TYPE

}  // namespace gale::cuda
