// The kernels for x86-64-v3 (AVX2 and FMA).
#include "backends/cpu/kernels.h"
#include "tensor/convert.h"

#if defined(__x86_64__)

#pragma GCC target("arch=x86-64-v3")
#define GALE_SIMD_TOKENS 2   // two sums of two registers each: 8 of 16
#define GALE_SIMD_NAME "x86-64-v3"
#include "backends/cpu/simd.inc"

const gale::CpuKernels* gale::simd_x86_v3() { return &kKernels; }

#else

const gale::CpuKernels* gale::simd_x86_v3() { return nullptr; }

#endif
