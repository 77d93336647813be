#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/device/common.cuh"
#include "ops/linear.h"

// How this backend lays out packed weights (linear.cu writes them, moe.cu reads them too).
namespace gale::cuda {

inline constexpr int kPackedAlignment = 32;   // elements of K: kTileK of device/gemm.cuh

// Elements from one packed row to the next, in bf16 and in e4m3; behind num_cols they are zero.
inline int64_t packed_pitch(int64_t num_cols) { return (num_cols + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment; }

// Calls f with the element type of a packed weight.
template <class F>
void with_weight_type(const PackedWeight& weight, F&& f) {
  if (weight.is_quantized()) return f(TypeTag<__nv_fp8_e4m3>{});
  f(TypeTag<__nv_bfloat16>{});
}

inline const float* scales_of(const PackedWeight& weight) { return static_cast<const float*>(weight.scales.data); }

// Activations a weight wants: bf16, or e4m3 if it is quantised.
inline bool has_input_type(const Tensor& in, const PackedWeight& weight) {
  return in.dtype == (weight.is_quantized() ? DType::kF8E4M3 : DType::kBF16);
}

// Rows of gate i and up i of `size` each: interleaved in groups of 8, or one behind the other where 8 does not divide size.
__host__ __device__ inline int64_t gate_row(int64_t i, int64_t size) { return size % 8 == 0 ? i / 8 * 16 + i % 8 : i; }
__host__ __device__ inline int64_t up_row(int64_t i, int64_t size) { return gate_row(i, size) + (size % 8 == 0 ? 8 : size); }

__device__ inline __nv_bfloat16 swiglu(__nv_bfloat16 gate, __nv_bfloat16 up) {
  return from_float<__nv_bfloat16>(silu(to_float(gate)) * to_float(up));
}

inline __nv_bfloat16* bf16(const Tensor& tensor) {
  CHECK(tensor.dtype == DType::kBF16, "tensor is {}", name_of(tensor.dtype));
  return static_cast<__nv_bfloat16*>(tensor.data);
}

// May its rows be read 16 bytes at a time?
inline bool is_aligned(const Tensor& tensor) {
  const int64_t row_bytes = tensor.strides[0] * static_cast<int64_t>(size_of(tensor.dtype));
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 && row_bytes % 16 == 0;
}

}  // namespace gale::cuda
