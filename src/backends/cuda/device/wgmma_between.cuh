#pragma once

#include "backends/cuda/device/wgmma.cuh"

// Products of device/wgmma.cuh for numbers of tokens between its powers of two.
namespace gale::cuda {

#define GALE_NAMES_32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
                      ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define GALE_NAMES_40 GALE_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define GALE_NAMES_48 GALE_NAMES_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define GALE_NAMES_56 GALE_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define GALE_NAMES_64 GALE_NAMES_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define GALE_NAMES_72 GALE_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define GALE_NAMES_76 GALE_NAMES_72 ", %72, %73, %74, %75"
#define GALE_REGISTERS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define GALE_REGISTERS_8(i) GALE_REGISTERS_4(i), GALE_REGISTERS_4(i + 4)
#define GALE_REGISTERS_32 GALE_REGISTERS_8(0), GALE_REGISTERS_8(8), GALE_REGISTERS_8(16), GALE_REGISTERS_8(24)
#define GALE_REGISTERS_40 GALE_REGISTERS_32, GALE_REGISTERS_8(32)
#define GALE_REGISTERS_48 GALE_REGISTERS_40, GALE_REGISTERS_8(40)
#define GALE_REGISTERS_56 GALE_REGISTERS_48, GALE_REGISTERS_8(48)
#define GALE_REGISTERS_64 GALE_REGISTERS_56, GALE_REGISTERS_8(56)
#define GALE_REGISTERS_72 GALE_REGISTERS_64, GALE_REGISTERS_8(64)
#define GALE_REGISTERS_76 GALE_REGISTERS_72, GALE_REGISTERS_4(72)

// names and registers of the sums; a, b, p: of descriptors and flag, the operands behind them.
#define GALE_WGMMA(instruction, names, a_name, b_name, flag_name, tail, registers)                                     \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name                                                           \
               ", 0;\n"                                                                                                \
               "wgmma.mma_async.sync.aligned." instruction " {" names "}, " a_name ", " b_name ", p, 1, 1" tail ";\n}" \
               : registers                                                                                             \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define GALE_WGMMA_OF_TYPE(instruction_k, types, tail)                                                                 \
  if constexpr (kTokens == 64) {                                                                                       \
    GALE_WGMMA("m64n64" instruction_k types, GALE_NAMES_32, "%32", "%33", "%34", tail, GALE_REGISTERS_32);             \
  } else if constexpr (kTokens == 80) {                                                                                \
    GALE_WGMMA("m64n80" instruction_k types, GALE_NAMES_40, "%40", "%41", "%42", tail, GALE_REGISTERS_40);             \
  } else if constexpr (kTokens == 96) {                                                                                \
    GALE_WGMMA("m64n96" instruction_k types, GALE_NAMES_48, "%48", "%49", "%50", tail, GALE_REGISTERS_48);             \
  } else if constexpr (kTokens == 112) {                                                                               \
    GALE_WGMMA("m64n112" instruction_k types, GALE_NAMES_56, "%56", "%57", "%58", tail, GALE_REGISTERS_56);            \
  } else if constexpr (kTokens == 128) {                                                                               \
    GALE_WGMMA("m64n128" instruction_k types, GALE_NAMES_64, "%64", "%65", "%66", tail, GALE_REGISTERS_64);            \
  } else if constexpr (kTokens == 144) {                                                                               \
    GALE_WGMMA("m64n144" instruction_k types, GALE_NAMES_72, "%72", "%73", "%74", tail, GALE_REGISTERS_72);            \
  } else {                                                                                                             \
    GALE_WGMMA("m64n152" instruction_k types, GALE_NAMES_76, "%76", "%77", "%78", tail, GALE_REGISTERS_76);            \
  }

// d[64, kTokens] += a[64, 32 bytes of K] * b[kTokens, 32 bytes of K]. accumulate false: d is overwritten.
template <class T, int kTokens>
__device__ void wgmma_between(float (&d)[kTokens / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kTokens == 152 || (kTokens >= 64 && kTokens <= 144 && kTokens % 16 == 0));
  if constexpr (sizeof(T) == 1) {
    GALE_WGMMA_OF_TYPE("k32", ".f32.e4m3.e4m3", "")
  } else {
    GALE_WGMMA_OF_TYPE("k16", ".f32.bf16.bf16", ", 0, 0")
  }
}

#undef GALE_NAMES_32
#undef GALE_NAMES_40
#undef GALE_NAMES_48
#undef GALE_NAMES_56
#undef GALE_NAMES_64
#undef GALE_NAMES_72
#undef GALE_NAMES_76
#undef GALE_REGISTERS_4
#undef GALE_REGISTERS_8
#undef GALE_REGISTERS_32
#undef GALE_REGISTERS_40
#undef GALE_REGISTERS_48
#undef GALE_REGISTERS_56
#undef GALE_REGISTERS_64
#undef GALE_REGISTERS_72
#undef GALE_REGISTERS_76
#undef GALE_WGMMA
#undef GALE_WGMMA_OF_TYPE

}  // namespace gale::cuda
