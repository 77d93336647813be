#pragma once

#include "backends/cuda/product_plan.h"
#include "ops/linear.h"
#include "tensor/device.h"

// Products by device/stream_gemm.cuh, tile_gemm.cuh and skinny_gemm.cuh, for linear and experts. Operands as
// supports_stream_gemm wants them.
namespace gale::cuda {

struct DenseProduct {
  Tensor out;                    // [T, N], or [T, I] if is_swiglu; bf16, or f32 if not is_swiglu
  Tensor in;                     // [T, K]
  const PackedWeight* weight;    // of several matrices, as head_linear has them: out [T, heads, N], in [T, heads, K]
  Tensor bias = {};              // bf16 [N] or empty
  bool is_swiglu = false;
};
void stream_dense(Stream& stream, const DenseProduct& product);

struct ExpertProduct {
  Tensor out;                    // [R, N] or [R, I]: row r from input row r / rows_per_input; bf16
  Tensor in;                     // [R / rows_per_input, K]
  const PackedWeight* weight;
  Tensor sorted_rows, expert_offsets;
  int rows_per_input, num_chosen;   // num_chosen: rows of a token
  bool is_swiglu;
  bool are_offsets_settled;      // another kernel ran between the one that wrote them and this
  Tensor by_expert;              // scratch [R, K] like `in`, where rows may be laid in the order of experts
};
void stream_experts(Stream& stream, const ExpertProduct& product);
// product.by_expert[p] = product.in[sorted_rows[p] / rows_per_input]
void lay_by_expert(Stream& stream, const ExpertProduct& product);
// What the card's table says for a product of experts.
[[nodiscard]] Candidate measured_of_experts(Stream& stream, ProductOp op, const PackedWeight& weight,
                                            int64_t num_tokens);

[[nodiscard]] inline int num_k_blocks(const PackedWeight& weight) {
  const int64_t row_bytes = weight.num_cols * static_cast<int64_t>(size_of(weight.data.dtype));
  return static_cast<int>((row_bytes + kBytesOfKBlock - 1) / kBytesOfKBlock);
}

// A Hopper card, rows at multiples of 16 bytes, gate and up interleaved.
[[nodiscard]] bool supports_stream_gemm(const DeviceCaps& caps, const Tensor& in, const PackedWeight& weight);
// in: [T, heads, K]. K in whole blocks of 128 bytes, so that no head reads into the next.
[[nodiscard]] bool supports_stream_heads(const DeviceCaps& caps, const Tensor& in, const PackedWeight& weight);

}  // namespace gale::cuda
