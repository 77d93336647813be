#pragma once

#include "backends/cuda/device/wgmma.cuh"

// Warpgroup products of 96 to 256 tokens, otherwise as in wgmma.cuh.
namespace gale::cuda {

#define GALE_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define GALE_NAMES_32 \
  GALE_NAMES_16       \
      ", "            \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define GALE_NAMES_48 \
  GALE_NAMES_32       \
      ", "            \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define GALE_NAMES_64 \
  GALE_NAMES_48       \
      ", "            \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define GALE_NAMES_80 \
  GALE_NAMES_64       \
      ", "            \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define GALE_NAMES_96 \
  GALE_NAMES_80       \
      ", "            \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define GALE_NAMES_112 \
  GALE_NAMES_96        \
      ", "             \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define GALE_NAMES_128 \
  GALE_NAMES_112       \
      ", "             \
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define GALE_REGISTERS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define GALE_REGISTERS_16(i) \
  GALE_REGISTERS_4(i), GALE_REGISTERS_4(i + 4), GALE_REGISTERS_4(i + 8), GALE_REGISTERS_4(i + 12)
#define GALE_REGISTERS_32(i) GALE_REGISTERS_16(0), GALE_REGISTERS_16(16)
#define GALE_REGISTERS_48(i) GALE_REGISTERS_32(0), GALE_REGISTERS_16(32)
#define GALE_REGISTERS_64(i) GALE_REGISTERS_48(0), GALE_REGISTERS_16(48)
#define GALE_REGISTERS_80(i) GALE_REGISTERS_64(0), GALE_REGISTERS_16(64)
#define GALE_REGISTERS_96(i) GALE_REGISTERS_80(0), GALE_REGISTERS_16(80)
#define GALE_REGISTERS_112(i) GALE_REGISTERS_96(0), GALE_REGISTERS_16(96)
#define GALE_REGISTERS_128(i) GALE_REGISTERS_112(0), GALE_REGISTERS_16(112)

// count: of the registers; a, b, p: names of descriptors and flag, the operands behind them.
#define GALE_WGMMA(instruction, count, a_name, b_name, flag_name, tail)                                     \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name                                                \
               ", 0;\n"                                                                                     \
               "wgmma.mma_async.sync.aligned." instruction " {" GALE_NAMES_##count "}, " a_name ", " b_name \
                                                                                   ", p, 1, 1" tail ";\n}"  \
               : GALE_REGISTERS_##count(0)                                                                  \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define GALE_WGMMA_OF_TYPE(instruction_k, types, tail)                            \
  if constexpr (kTokens == 96) {                                                  \
    GALE_WGMMA("m64n96" instruction_k types, 48, "%48", "%49", "%50", tail);      \
  } else if constexpr (kTokens == 128) {                                          \
    GALE_WGMMA("m64n128" instruction_k types, 64, "%64", "%65", "%66", tail);     \
  } else if constexpr (kTokens == 160) {                                          \
    GALE_WGMMA("m64n160" instruction_k types, 80, "%80", "%81", "%82", tail);     \
  } else if constexpr (kTokens == 192) {                                          \
    GALE_WGMMA("m64n192" instruction_k types, 96, "%96", "%97", "%98", tail);     \
  } else if constexpr (kTokens == 224) {                                          \
    GALE_WGMMA("m64n224" instruction_k types, 112, "%112", "%113", "%114", tail); \
  } else {                                                                        \
    GALE_WGMMA("m64n256" instruction_k types, 128, "%128", "%129", "%130", tail); \
  }

// accumulate false: d is overwritten.
template <class T, int kTokens>
__device__ void wgmma_wide(float (&d)[kTokens / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kTokens % 32 == 0 && kTokens >= 96 && kTokens <= 256);
  if constexpr (sizeof(T) == 1) {
    GALE_WGMMA_OF_TYPE("k32", ".f32.e4m3.e4m3", "")
  } else {
    GALE_WGMMA_OF_TYPE("k16", ".f32.bf16.bf16", ", 0, 0")
  }
}

#undef GALE_NAMES_16
#undef GALE_NAMES_32
#undef GALE_NAMES_48
#undef GALE_NAMES_64
#undef GALE_NAMES_80
#undef GALE_NAMES_96
#undef GALE_NAMES_112
#undef GALE_NAMES_128
#undef GALE_REGISTERS_4
#undef GALE_REGISTERS_16
#undef GALE_REGISTERS_32
#undef GALE_REGISTERS_48
#undef GALE_REGISTERS_64
#undef GALE_REGISTERS_80
#undef GALE_REGISTERS_96
#undef GALE_REGISTERS_112
#undef GALE_REGISTERS_128
#undef GALE_WGMMA
#undef GALE_WGMMA_OF_TYPE

}  // namespace gale::cuda
