#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backends/cuda/stream.h"
#include "base/check.h"
#include "tensor/tensor.h"

namespace gale::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__nv_fp8_e4m3 x) { return static_cast<float>(x); }

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) { return x; }
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }
template <>
__device__ inline __half from_float<__half>(float x) { return __float2half_rn(x); }

// Saturates; NaN stays NaN.
template <>
__device__ inline __nv_fp8_e4m3 from_float<__nv_fp8_e4m3>(float x) { return __nv_fp8_e4m3(x); }

// What ops/norm.h promises of quantised rows: the factor of a row from its largest magnitude.
inline constexpr float kFp8Max = 448.0f;
__device__ inline float quantization_scale(float largest) { return largest > 0 ? largest / kFp8Max : 1.0f; }

// The fast division has no slow path, and gives the limit 0 where the exponential is out of range.
__device__ inline float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

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
// Sum of the warp's lanes up to and with this one.
template <class T>
__device__ T warp_prefix_sum(T x) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const T other = __shfl_up_sync(kFullMask, x, offset);
    if (lane >= offset) x += other;
  }
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

// Of a pair of bf16.
__device__ inline float2 floats_of_bf16(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

// 2 to the x, one instruction; denormal results are 0.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Largest of a block's values, none below 0; as block_sum.
__device__ inline float block_max(float x, float* shared) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, num_warps = (blockDim.x + kWarpSize - 1) / kWarpSize;
  x = warp_max(x);
  __syncthreads();
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  float largest = 0;
  for (int w = 0; w < num_warps; ++w) largest = fmaxf(largest, shared[w]);
  return largest;
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

// Programmatic dependent launch (sm_90 and later; nothing before). A kernel launched by launch_pdl may start while its
// predecessor still runs: before it touches memory of other kernels (reads or writes) it waits for them, and only then lets its
// own successor start. In that order whoever runs knows that everything before its predecessor is done.
__device__ inline void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void release_successor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// For short kernels whose successor does nothing before its own wait but read what no kernel of the step writes: it
// then does so while the predecessor of both still runs. It cannot get further: it waits for this kernel, which waits
// for that one.
__device__ inline void release_early() { release_successor(); }

// All cards of a process are of one kind.
inline bool has_programmatic_launch() {
  static const bool yes = [] {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
  }();
  return yes;
}

// For kernels that call wait_for_predecessor, and for them alone. cluster_x: blocks along x that form a cluster (sm_90).
template <class... Params, class... Args>
void launch_cluster_pdl(Stream& stream, void (*kernel)(Params...), dim3 grid, int cluster_x, dim3 block, size_t shared_bytes,
                        Args... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = cluster_x, attributes[1].val.clusterDim.y = 1, attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared_bytes, config.stream = handle_of(stream);
  config.attrs = attributes, config.numAttrs = !has_programmatic_launch() ? 0 : cluster_x > 1 ? 2 : 1;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
  CHECK(error == cudaSuccess, "kernel launch: {}", cudaGetErrorString(error));
}

template <class... Params, class... Args>
void launch_pdl(Stream& stream, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
  launch_cluster_pdl(stream, kernel, grid, 1, block, shared_bytes, args...);
}

}  // namespace gale::cuda
