// The kernels for what the compiler assumes of every machine of this platform (SSE2, NEON).
#include "backends/cpu/kernels.h"
#include "tensor/convert.h"

#define GALE_SIMD_TOKENS 1
#define GALE_SIMD_NAME "baseline"
#include "backends/cpu/simd.inc"

const gale::CpuKernels* gale::simd_baseline() { return &kKernels; }
