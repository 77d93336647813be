#include "backends/cpu/kernels.h"

namespace gale {
namespace {

#if defined(__x86_64__)
bool runs_v4() { return __builtin_cpu_supports("x86-64-v4") != 0; }
bool runs_v3() { return __builtin_cpu_supports("x86-64-v3") != 0; }
#else
bool runs_v4() { return false; }
bool runs_v3() { return false; }
#endif

}  // namespace

const CpuKernels& cpu_kernels() {
  static const CpuKernels* const kBest = runs_v4() ? simd_x86_v4() : runs_v3() ? simd_x86_v3() : simd_baseline();
  return *kBest;
}

}  // namespace gale
