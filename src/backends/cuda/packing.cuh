#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/device/common.cuh"

// How this backend lays out packed weights (linear.cu writes them, moe.cu reads them too).
namespace gale::cuda {

inline constexpr int kPackedAlignment = 32;   // elements of K: kTileK of device/gemm.cuh

inline int64_t packed_pitch(int64_t num_cols) { return (num_cols + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment; }

// Rows of gate i and up i of `size` each: interleaved in groups of 8, or one behind the other where 8 does not divide size.
__host__ __device__ inline int64_t gate_row(int64_t i, int64_t size) { return size % 8 == 0 ? i / 8 * 16 + i % 8 : i; }
__host__ __device__ inline int64_t up_row(int64_t i, int64_t size) { return gate_row(i, size) + (size % 8 == 0 ? 8 : size); }

__device__ inline __nv_bfloat16 swiglu(__nv_bfloat16 gate, __nv_bfloat16 up) {
  const float g = to_float(gate);
  return from_float<__nv_bfloat16>(g / (1.0f + __expf(-g)) * to_float(up));
}

inline __nv_bfloat16* bf16(const Tensor& tensor) {
  CHECK(tensor.dtype == DType::kBF16, "tensor is {}", name_of(tensor.dtype));
  return static_cast<__nv_bfloat16*>(tensor.data);
}

// May its rows be read 16 bytes at a time?
inline bool is_aligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 && tensor.strides[0] % 8 == 0;
}

}  // namespace gale::cuda
