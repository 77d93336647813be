#include "backends/cuda/stream_gemm.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "backends/cuda/kernel_table.h"
#include "backends/cuda/stream.h"

namespace gale::cuda {

// Instantiated in the *_sm90.cu files, one each.
template <class T>
void stream_dense_of_type(Stream& stream, const DenseProduct& product, const StreamGemmPlan& plan);
template <class T>
void tile_dense_of_type(Stream& stream, const DenseProduct& product, const TileGemmPlan& plan);
template <class T>
void skinny_dense_of_type(Stream& stream, const DenseProduct& product, int rows);
template <class T>
void stream_experts_of_type(Stream& stream, const ExpertProduct& product, const Candidate& wanted);
void gemv_dense(Stream& stream, const DenseProduct& product);

namespace {

bool is_at(const Tensor& out, size_t bytes) {
  return reinterpret_cast<uintptr_t>(out.data) % bytes == 0 && out.strides[0] * size_of(out.dtype) % bytes == 0;
}

DenseCall call_of(const DenseProduct& product) {
  const PackedWeight& weight = *product.weight;
  const int size_n = static_cast<int>(weight.num_rows);
  const bool is_one = weight.num_matrices == 1, is_bf16 = product.out.dtype == DType::kBF16;
  const int64_t width = product.is_swiglu ? size_n / 2 : size_n;
  return {.num_tokens = static_cast<int>(product.in.shape[0]),
          .size_n = size_n,
          .num_k_blocks = num_k_blocks(weight),
          .num_heads = static_cast<int>(weight.num_matrices),
          .can_tile = is_one && (!is_bf16 || (width % 8 == 0 && is_at(product.out, 16))),
          .can_skinny = is_one && is_bf16 && !product.is_swiglu && is_at(product.out, 4),
          .can_gemv = is_bf16 && !product.is_swiglu && !weight.is_quantized() && weight.num_cols % 8 == 0};
}

// What the card's table says. One matrix a head has one kernel.
Candidate measured(Stream& stream, const DenseProduct& product) {
  if (product.weight->num_matrices > 1) return {};
  const ProductOp op = product.is_swiglu                      ? ProductOp::kLinearSwiglu
                       : product.out.dtype == DType::kF32 ? ProductOp::kLogits
                                                              : ProductOp::kLinear;
  return table_of(stream).choice(key_of(op, *product.weight), product.in.shape[0]);
}

template <class T>
void run_dense(Stream& stream, const DenseProduct& product) {
  const DensePlan plan = plan_dense_product(call_of(product), measured(stream, product));
  switch (plan.kernel.kernel) {
    case ProductKernel::kTile: return tile_dense_of_type<T>(stream, product, plan.tiles);
    case ProductKernel::kSkinny: return skinny_dense_of_type<T>(stream, product, plan.kernel.size);
    case ProductKernel::kStream: return stream_dense_of_type<T>(stream, product, plan.stream);
    case ProductKernel::kGemv: return gemv_dense(stream, product);
    case ProductKernel::kHeuristic: case ProductKernel::kWide: case ProductKernel::kFew: break;
  }
  CHECK(false, "a dense product by kernel {}", name_of(plan.kernel));
}

}  // namespace

void stream_dense(Stream& stream, const DenseProduct& product) {
  if (product.weight->is_quantized()) return run_dense<__nv_fp8_e4m3>(stream, product);
  run_dense<__nv_bfloat16>(stream, product);
}

Candidate measured_of_experts(Stream& stream, ProductOp op, const PackedWeight& weight, int64_t num_tokens) {
  return table_of(stream).choice(key_of(op, weight), num_tokens);
}

void stream_experts(Stream& stream, const ExpertProduct& product) {
  const Candidate wanted = measured_of_experts(stream, product.is_swiglu ? ProductOp::kMoeUp : ProductOp::kMoeDown,
                                               *product.weight, product.out.shape[0] / product.num_chosen);
  if (product.weight->is_quantized()) return stream_experts_of_type<__nv_fp8_e4m3>(stream, product, wanted);
  stream_experts_of_type<__nv_bfloat16>(stream, product, wanted);
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
