// Kernels that go wrong on purpose.
#include "fault_kernels.h"

namespace gale {
namespace {

__global__ void stall_kernel() {
  while (true) __nanosleep(1000);
}
__global__ void fault_kernel(int* nowhere) { *nowhere = 1; }

}  // namespace

void launch_stall(cudaStream_t stream) { stall_kernel<<<1, 1, 0, stream>>>(); }
void launch_fault(cudaStream_t stream) { fault_kernel<<<1, 1, 0, stream>>>(reinterpret_cast<int*>(64)); }

}  // namespace gale
