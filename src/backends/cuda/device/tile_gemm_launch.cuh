#pragma once

#include "backends/cuda/device/tile_gemm.cuh"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/stream_gemm.h"
#include "backends/cuda/tensor_map.h"
#include "backends/cuda/tile_gemm_plan.h"

// Host side of device/tile_gemm.cuh; the tile_gemm_*_sm90.cu files instantiate it.
namespace gale::cuda {

// Whether the sums that a block receives fit into its stages.
template <class C>
constexpr bool shares_fit(int split) {
  return (C::kTokens / 32 + split - 1) / split * 4 * split * C::kConsumers * 16 <= C::kStages * C::kStageBytes;
}

inline BoxedMatrix boxed(const MatrixView& matrix, int box_rows) {
  const int num_last = static_cast<int>(matrix.num_rows % box_rows);
  const CUtensorMap box = make_tensor_map(matrix, box_rows);
  return {box, num_last == 0 ? box : make_tensor_map(matrix, num_last)};
}

template <class C>
void launch_tile_gemm(Stream& stream, const DenseProduct& product, const TileGemmPlan& plan) {
  static_assert(shares_fit<C>(2) && shares_fit<C>(3));
  const PackedWeight& weight = *product.weight;
  const Tensor &in = product.in, &out = product.out;
  TileGemmView view{};
  view.out = out.data, view.out_stride = out.strides[0], view.is_f32 = out.dtype == DType::kF32,
  view.is_swiglu = product.is_swiglu;
  view.weight_scales = scales_of(weight), view.in_scales = in.scales;
  view.bias = product.bias.is_empty() ? nullptr : bf16(product.bias);
  view.num_tokens = static_cast<int>(in.shape[0]), view.size_n = static_cast<int>(weight.num_rows);
  view.num_k_blocks = ceil_div(weight.num_cols, C::kBlockK);
  view.split = plan.split, view.num_row_tiles = ceil_div(view.size_n, C::kRows);
  view.num_token_tiles = plan.has_narrow_column ? view.num_tokens / C::kTokens : ceil_div(view.num_tokens, C::kTokens);
  view.shares = shares_of({view.num_tokens, view.size_n, view.num_k_blocks}, plan);
  view.num_halved = plan.num_halved, view.narrow_first = view.num_token_tiles * C::kTokens;
  CHECK(view.shares.num_narrow == 0 || (C::kHasNarrow && plan.split == 1), "a plan of narrow tiles");
  view.weight_hint = view.num_tokens <= C::kTokens ? kEvictFirst : kEvictNormal;
  const BoxedMatrix weights = boxed(
      {weight.data.data, weight.data.dtype, weight.num_rows, weight.num_cols, packed_pitch(weight.num_cols)}, C::kRows);
  const BoxedMatrix tokens =
      boxed({in.data, in.dtype, view.num_tokens, weight.num_cols, in.strides[0]}, C::kBoxTokens);
  auto kernel = tile_gemm_kernel<C>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_cluster_pdl(stream, kernel, dim3(view.shares.num_clusters * plan.split), plan.split, dim3(C::kThreads),
                     C::kSharedBytes, weights, tokens, view);
}

template <class T>
void tile_dense_of_type(Stream& stream, const DenseProduct& product, const TileGemmPlan& plan) {
  switch (plan.tokens) {
    case 96:
      return launch_tile_gemm<TileGemmConfig<T, 96>>(stream, product, plan);
    case 128:
      return launch_tile_gemm<TileGemmConfig<T, 128>>(stream, product, plan);
    case 160:
      return launch_tile_gemm<TileGemmConfig<T, 160>>(stream, product, plan);
    case 192:
      return launch_tile_gemm<TileGemmConfig<T, 192>>(stream, product, plan);
    default:
      return launch_tile_gemm<TileGemmConfig<T, 256>>(stream, product, plan);
  }
}

}  // namespace gale::cuda
