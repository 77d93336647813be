// Dense products of up to 8 tokens by small bf16 weights on Hopper: device/gemv.cuh.
#include "backends/cuda/device/gemv.cuh"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/stream_gemm.h"

namespace gale::cuda {
namespace {

static_assert(kGemvTokens == kMaxGemvTokens, "what the plan gives it");
constexpr int kMaxShortRow = 4096;   // bytes

// As few warps as take their pairs of steps in as few rounds.
int gemv_warps(int row_bytes) {
  const int pairs = ceil_div(row_bytes, 2 * kGemvStepBytes);
  return ceil_div(pairs, ceil_div(pairs, kMaxGemvWarps));
}

}  // namespace

void gemv_dense(Stream& stream, const DenseProduct& product) {
  const PackedWeight& weight = *product.weight;
  const Tensor &in = product.in, &out = product.out;
  const bool has_heads = weight.num_matrices > 1;
  constexpr auto kBytes = static_cast<int64_t>(sizeof(__nv_bfloat16));
  GemvView view{};
  view.out = bf16(out), view.out_token = out.strides[0], view.out_head = has_heads ? out.strides[1] : 0;
  view.weight = static_cast<const std::byte*>(weight.data.data), view.in = static_cast<const std::byte*>(in.data);
  view.in_token = in.strides[0] * kBytes, view.in_head = has_heads ? in.strides[1] * kBytes : 0;
  view.pitch = packed_pitch(weight.num_cols) * kBytes, view.weight_head = weight.num_rows * view.pitch;
  view.bias = product.bias.is_empty() ? nullptr : bf16(product.bias);
  view.num_tokens = static_cast<int>(in.shape[0]), view.size_n = static_cast<int>(weight.num_rows);
  view.row_bytes = static_cast<int>(weight.num_cols * kBytes);
  const dim3 grid(ceil_div(weight.num_rows, kGemvRows), static_cast<unsigned>(weight.num_matrices));
  // Short rows are not worth as many steps at once as more blocks.
  auto kernel = view.row_bytes <= kMaxShortRow ? gemv_kernel<4, 3> : gemv_kernel<6, 2>;
  launch_pdl(stream, kernel, grid, dim3(gemv_warps(view.row_bytes) * kWarpSize), 0, view);
}

}  // namespace gale::cuda
