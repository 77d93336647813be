#include "backends/cuda/stream_gemm.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "backends/cuda/tile_gemm_plan.h"

namespace gale::cuda {

// Instantiated in the *_sm90.cu files, one each.
template <class T>
void stream_dense_of_type(Stream& stream, const DenseProduct& product);
template <class T>
void tile_dense_of_type(Stream& stream, const DenseProduct& product, const TileGemmPlan& plan);
template <class T>
void skinny_dense_of_type(Stream& stream, const DenseProduct& product, int rows);
template <class T>
void stream_experts_of_type(Stream& stream, const ExpertProduct& product);

namespace {

bool is_at(const Tensor& out, size_t bytes) {
  return reinterpret_cast<uintptr_t>(out.data) % bytes == 0 && out.strides[0] * size_of(out.dtype) % bytes == 0;
}

template <class T>
void run_dense(Stream& stream, const DenseProduct& product) {
  const PackedWeight& weight = *product.weight;
  const int num_tokens = static_cast<int>(product.in.shape[0]), size_n = static_cast<int>(weight.num_rows);
  const bool is_one = weight.num_matrices == 1, is_bf16 = product.out.dtype == DType::kBF16;
  const int64_t width = product.is_swiglu ? size_n / 2 : size_n;
  const int64_t row_bytes = weight.num_cols * static_cast<int64_t>(sizeof(T));
  const int num_k_blocks = static_cast<int>((row_bytes + kBytesOfKBlock - 1) / kBytesOfKBlock);
  if (is_one && num_tokens >= kMinTileTokens && (!is_bf16 || (width % 8 == 0 && is_at(product.out, 16))))
    return tile_dense_of_type<T>(stream, product, plan_tiles(num_tokens, size_n, num_k_blocks));
  const int rows = skinny_rows(size_n, num_k_blocks);
  if (is_one && num_tokens <= kMaxSkinnyTokens && rows > 0 && is_bf16 && !product.is_swiglu && is_at(product.out, 4))
    return skinny_dense_of_type<T>(stream, product, rows);
  stream_dense_of_type<T>(stream, product);
}

}  // namespace

void stream_dense(Stream& stream, const DenseProduct& product) {
  if (product.weight->is_quantized()) return run_dense<__nv_fp8_e4m3>(stream, product);
  run_dense<__nv_bfloat16>(stream, product);
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
