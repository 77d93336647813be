#pragma once

#include "backends/cuda/device/wgmma.cuh"

// Warpgroup products of 64 rows by up to 256 columns, bf16 in, fp32 out, 16 of K an instruction; results lie in the
// registers as device/wgmma.cuh says. B is kN rows along K (as a weight lies), or transposed: K rows of kN columns
// (as values lie).
namespace gale::cuda {

// Of a transposed tile in columns of 64: 16 of K further is + 2048 bytes. column_bytes: from one column of the tile
// to the next.
__device__ inline uint64_t transposed_descriptor(const void* tile, int column_bytes) {
  constexpr uint64_t kUnused = uint64_t{0x3FFF} << 16;
  return (tile_descriptor(tile) & ~kUnused) | static_cast<uint64_t>(column_bytes / 16) << 16;
}
inline constexpr int kTransposedStep = 16 * kSwizzledRowBytes / 16;   // what 16 of K add to a descriptor
inline constexpr int kPlainStep = 2;

// Registers of a thread, moved from a warpgroup that copies to two that multiply; of a kernel of kSharingThreads, one
// block an SM. Each by all threads of a warpgroup: 240 and 24, or 232 and 40.
inline constexpr int kSharingThreads = 384;
template <int kCount = 240>
__device__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount)); }
template <int kCount = 24>
__device__ void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount)); }

#define GALE_WIDE_0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define GALE_WIDE_1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define GALE_WIDE_2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define GALE_WIDE_3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define GALE_WIDE_4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define GALE_WIDE_5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define GALE_WIDE_6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define GALE_WIDE_7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define GALE_WIDE_8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define GALE_WIDE_9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define GALE_WIDE_10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define GALE_WIDE_11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define GALE_WIDE_12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define GALE_WIDE_13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define GALE_WIDE_14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define GALE_WIDE_15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define GALE_WIDE_NAMES_32 GALE_WIDE_0 ", " GALE_WIDE_1 ", " GALE_WIDE_2 ", " GALE_WIDE_3
#define GALE_WIDE_NAMES_40 GALE_WIDE_0 ", " GALE_WIDE_1 ", " GALE_WIDE_2 ", " GALE_WIDE_3 ", " GALE_WIDE_4
#define GALE_WIDE_NAMES_64 GALE_WIDE_0 ", " GALE_WIDE_1 ", " GALE_WIDE_2 ", " GALE_WIDE_3 ", " GALE_WIDE_4 ", " \
                             GALE_WIDE_5 ", " GALE_WIDE_6 ", " GALE_WIDE_7
#define GALE_WIDE_NAMES_96 GALE_WIDE_0 ", " GALE_WIDE_1 ", " GALE_WIDE_2 ", " GALE_WIDE_3 ", " GALE_WIDE_4 ", " \
                             GALE_WIDE_5 ", " GALE_WIDE_6 ", " GALE_WIDE_7 ", " GALE_WIDE_8 ", " GALE_WIDE_9 ", " \
                             GALE_WIDE_10 ", " GALE_WIDE_11
#define GALE_WIDE_NAMES_128 GALE_WIDE_0 ", " GALE_WIDE_1 ", " GALE_WIDE_2 ", " GALE_WIDE_3 ", " GALE_WIDE_4 ", " \
                             GALE_WIDE_5 ", " GALE_WIDE_6 ", " GALE_WIDE_7 ", " GALE_WIDE_8 ", " GALE_WIDE_9 ", " \
                             GALE_WIDE_10 ", " GALE_WIDE_11 ", " GALE_WIDE_12 ", " GALE_WIDE_13 ", " GALE_WIDE_14 ", " \
                             GALE_WIDE_15
#define GALE_WIDE_REGISTERS_8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), \
                                 "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define GALE_WIDE_REGISTERS_32 GALE_WIDE_REGISTERS_8(0), GALE_WIDE_REGISTERS_8(8), GALE_WIDE_REGISTERS_8(16), \
                               GALE_WIDE_REGISTERS_8(24)
#define GALE_WIDE_REGISTERS_40 GALE_WIDE_REGISTERS_8(0), GALE_WIDE_REGISTERS_8(8), GALE_WIDE_REGISTERS_8(16), \
                               GALE_WIDE_REGISTERS_8(24), GALE_WIDE_REGISTERS_8(32)
#define GALE_WIDE_REGISTERS_64 GALE_WIDE_REGISTERS_40, GALE_WIDE_REGISTERS_8(40), GALE_WIDE_REGISTERS_8(48), \
                               GALE_WIDE_REGISTERS_8(56)
#define GALE_WIDE_REGISTERS_96 GALE_WIDE_REGISTERS_64, GALE_WIDE_REGISTERS_8(64), GALE_WIDE_REGISTERS_8(72), \
                               GALE_WIDE_REGISTERS_8(80), GALE_WIDE_REGISTERS_8(88)
#define GALE_WIDE_REGISTERS_128 GALE_WIDE_REGISTERS_96, GALE_WIDE_REGISTERS_8(96), GALE_WIDE_REGISTERS_8(104), \
                                GALE_WIDE_REGISTERS_8(112), GALE_WIDE_REGISTERS_8(120)

// A and B from shared memory, A in registers. `columns`: of the instruction; `transposed`: 0 or 1.
#define GALE_WIDE_SHARED(columns, count, a_name, b_name, flag_name, transposed) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name ", 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.bf16.bf16 {" GALE_WIDE_NAMES_##count "}, " a_name \
               ", " b_name ", p, 1, 1, 0, " transposed ";\n}" \
               : GALE_WIDE_REGISTERS_##count : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)))
#define GALE_WIDE_FRAGMENT(columns, count, a_names, b_name, flag_name) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name ", 0;\n" \
               "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.bf16.bf16 {" GALE_WIDE_NAMES_##count "}, {" \
               a_names "}, " b_name ", p, 1, 1, 1;\n}" \
               : GALE_WIDE_REGISTERS_##count \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)))

// accumulate false: d is overwritten.
template <int kN, bool kTransposed>
__device__ void wgmma_wide(float (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kTransposed ? kN == 192 : kN == 64 || kN == 80 || kN == 128 || kN == 256);
  if constexpr (kTransposed) {
    GALE_WIDE_SHARED("192", 96, "%96", "%97", "%98", "1");
  } else if constexpr (kN == 64) {
    GALE_WIDE_SHARED("64", 32, "%32", "%33", "%34", "0");
  } else if constexpr (kN == 80) {
    GALE_WIDE_SHARED("80", 40, "%40", "%41", "%42", "0");
  } else if constexpr (kN == 128) {
    GALE_WIDE_SHARED("128", 64, "%64", "%65", "%66", "0");
  } else {
    GALE_WIDE_SHARED("256", 128, "%128", "%129", "%130", "0");
  }
}

// A as mma.m16n8k16 has it: what a warp's results become when pairs are packed. B transposed.
template <int kN>
__device__ void wgmma_fragment(float (&d)[kN / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(kN == 128 || kN == 256);
  if constexpr (kN == 128) {
    GALE_WIDE_FRAGMENT("128", 64, "%64, %65, %66, %67", "%68", "%69");
  } else {
    GALE_WIDE_FRAGMENT("256", 128, "%128, %129, %130, %131", "%132", "%133");
  }
}

#undef GALE_WIDE_0
#undef GALE_WIDE_1
#undef GALE_WIDE_2
#undef GALE_WIDE_3
#undef GALE_WIDE_4
#undef GALE_WIDE_5
#undef GALE_WIDE_6
#undef GALE_WIDE_7
#undef GALE_WIDE_8
#undef GALE_WIDE_9
#undef GALE_WIDE_10
#undef GALE_WIDE_11
#undef GALE_WIDE_12
#undef GALE_WIDE_13
#undef GALE_WIDE_14
#undef GALE_WIDE_15
#undef GALE_WIDE_NAMES_32
#undef GALE_WIDE_NAMES_40
#undef GALE_WIDE_NAMES_64
#undef GALE_WIDE_NAMES_96
#undef GALE_WIDE_NAMES_128
#undef GALE_WIDE_REGISTERS_8
#undef GALE_WIDE_REGISTERS_32
#undef GALE_WIDE_REGISTERS_40
#undef GALE_WIDE_REGISTERS_64
#undef GALE_WIDE_REGISTERS_96
#undef GALE_WIDE_REGISTERS_128
#undef GALE_WIDE_SHARED
#undef GALE_WIDE_FRAGMENT

}  // namespace gale::cuda
