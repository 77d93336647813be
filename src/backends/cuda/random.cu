// Random weights of --load-format dummy, by ops/random.h: one element a thread and turn, limited by the memory written.
#include "backends/cuda/card.h"
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/ops.h"
#include "ops/random.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 4096;

template <class T>
__global__ void __launch_bounds__(kThreads) fill_kernel(T* out, int64_t size, uint64_t seed, float spread) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < size; i += static_cast<int64_t>(gridDim.x) * kThreads)
    out[i] = from_float<T>(spread * uniform_of(seed, static_cast<uint64_t>(i)));
}

}  // namespace

bool current_card_has_kernels() {
  cudaFuncAttributes attributes{};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, fill_kernel<float>);
  (void)cudaGetLastError();   // the answer is the return value
  return error != cudaErrorNoKernelImageForDevice;
}

void fill_random(Stream& stream, const Tensor& out, uint64_t seed, float spread) {
  CHECK(out.is_contiguous(), "{} is strided", out.describe());
  const int64_t size = out.num_elements();
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(kMaxBlocks, (size + kThreads - 1) / kThreads)));
  with_float_type(out.dtype, [&](auto t) {
    using T = typename decltype(t)::type;
    launch(stream, fill_kernel<T>, grid, dim3(kThreads), 0, static_cast<T*>(out.data), size, seed, spread);
  });
}

}  // namespace gale::cuda
