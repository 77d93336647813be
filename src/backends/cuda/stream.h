#pragma once

#include <cuda_runtime.h>

#include "tensor/device.h"

namespace gale::cuda {

// The CUDA stream behind a Stream that this backend made.
[[nodiscard]] cudaStream_t handle_of(Stream& stream);

}  // namespace gale::cuda
