#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backends/cuda/stream.h"
#include "base/check.h"
#include "tensor/tensor.h"

namespace gale::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) { return x; }
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }
template <>
__device__ inline __half from_float<__half>(float x) { return __float2half_rn(x); }

template <class T>
struct TypeTag { using type = T; };

// Calls f with the element type of a float tensor: float, __half or __nv_bfloat16.
template <class F>
void with_float_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32: return f(TypeTag<float>{});
    case DType::kF16: return f(TypeTag<__half>{});
    case DType::kBF16: return f(TypeTag<__nv_bfloat16>{});
    case DType::kF8E4M3:
    case DType::kI32:
    case DType::kI64:
    case DType::kU32:
    case DType::kU8: break;
  }
  CHECK(false, "{} is no float type of this backend", name_of(dtype));
}

template <class T>
__device__ T* pointer(void* data) { return static_cast<T*>(data); }

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullMask = 0xFFFFFFFFu;

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kFullMask, x, offset);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(kFullMask, x, offset));
  return x;
}

// Sum over a block of up to 1024 threads, in a fixed order; every thread gets it. `shared` holds 33 floats.
__device__ inline float block_sum(float x, float* shared) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, num_warps = (blockDim.x + kWarpSize - 1) / kWarpSize;
  x = warp_sum(x);
  __syncthreads();   // `shared` may still be read from the call before
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  if (warp == 0) {
    float total = warp_sum(lane < num_warps ? shared[lane] : 0.0f);
    if (lane == 0) shared[32] = total;
  }
  __syncthreads();
  return shared[32];
}

inline int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

// Launches on the stream and CHECKs the launch itself; a fault of the kernel shows at the next event.
template <class... Params, class... Args>
void launch(Stream& stream, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;   // no rows: nothing to do
  kernel<<<grid, block, shared_bytes, handle_of(stream)>>>(static_cast<Params>(args)...);
  const cudaError_t error = cudaGetLastError();
  CHECK(error == cudaSuccess, "kernel launch: {}", cudaGetErrorString(error));
}

}  // namespace gale::cuda
