#include "backends/cuda/stream_gemm.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace gale::cuda {

// Instantiated in the *_sm90.cu files, one each.
template <class T>
void stream_dense_of_type(Stream& stream, const DenseProduct& product);
template <class T>
void stream_experts_of_type(Stream& stream, const ExpertProduct& product);

void stream_dense(Stream& stream, const DenseProduct& product) {
  if (product.weight->is_quantized()) return stream_dense_of_type<__nv_fp8_e4m3>(stream, product);
  stream_dense_of_type<__nv_bfloat16>(stream, product);
}

void stream_experts(Stream& stream, const ExpertProduct& product) {
  if (product.weight->is_quantized()) return stream_experts_of_type<__nv_fp8_e4m3>(stream, product);
  stream_experts_of_type<__nv_bfloat16>(stream, product);
}

namespace {

// A Hopper card, rows at multiples of 16 bytes.
bool fits(const DeviceCaps& caps, const Tensor& in, const PackedWeight& weight, int64_t row_stride) {
  const bool is_aligned = reinterpret_cast<uintptr_t>(in.data) % 16 == 0 && row_stride * static_cast<int64_t>(size_of(in.dtype)) % 16 == 0;
  return caps.compute_capability == 90 && in.dtype == (weight.is_quantized() ? DType::kF8E4M3 : DType::kBF16) && is_aligned;
}

}  // namespace

bool supports_stream_gemm(const DeviceCaps& caps, const Tensor& in, const PackedWeight& weight) {
  constexpr int64_t kMaxMatrices = 256;   // experts a block counts at once
  const bool is_interleaved = weight.order != RowOrder::kGateUp || weight.num_rows % 16 == 0;
  return fits(caps, in, weight, in.strides[in.shape.rank() - 2]) && is_interleaved && weight.num_matrices <= kMaxMatrices;
}

bool supports_stream_heads(const DeviceCaps& caps, const Tensor& in, const PackedWeight& weight) {
  return fits(caps, in, weight, in.strides[0]) && in.strides[1] % 8 == 0 && weight.num_cols % 64 == 0 && !weight.is_quantized();
}

}  // namespace gale::cuda
