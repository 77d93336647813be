#pragma once

#include <cmath>

#include "backends/cpu/kernels.h"

namespace gale {

// out = x / rms(x) * weight, one row; out may be x.
inline void norm_row(float* out, const float* x, const float* weight, float eps, int64_t size) {
  const CpuKernels& kernels = cpu_kernels();
  const float mean = kernels.sum_of_squares(x, size) / static_cast<float>(size);
  kernels.scaled_product(out, x, 1.0f / std::sqrt(mean + eps), weight, size);
}

}  // namespace gale
