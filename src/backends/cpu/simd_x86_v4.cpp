// The kernels for x86-64-v4 (AVX-512).
#include "backends/cpu/kernels.h"
#include "tensor/convert.h"

#if defined(__x86_64__)

#pragma GCC target("arch=x86-64-v4")
#define GALE_SIMD_TOKENS 8   // two sums of 16 floats each: 16 of 32 registers
#define GALE_SIMD_NAME "x86-64-v4"
#include "backends/cpu/simd.inc"

const gale::CpuKernels* gale::simd_x86_v4() { return &kKernels; }

#else

const gale::CpuKernels* gale::simd_x86_v4() { return nullptr; }

#endif
