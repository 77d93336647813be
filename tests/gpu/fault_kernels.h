#pragma once

#include <cuda_runtime.h>

namespace gale {

void launch_stall(cudaStream_t stream);  // never ends
void launch_fault(cudaStream_t stream);  // writes where nothing is: the process loses its card

}  // namespace gale
