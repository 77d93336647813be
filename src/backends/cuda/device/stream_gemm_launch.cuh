#pragma once

#include "backends/cuda/device/expert_gemm.cuh"
#include "backends/cuda/device/stream_gemm.cuh"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/stream_gemm.h"
#include "backends/cuda/tensor_map.h"

// Host side of device/stream_gemm.cuh; each of the *_sm90.cu files instantiates it for one type and use.
namespace gale::cuda {

template <class T>
using NarrowTiles = StreamGemmConfig<T, 1, 16, 4, 3, false, true>;         // experts
template <class T, bool kGather>
using SmallTiles = StreamGemmConfig<T, 1, 64, 4, 2, false, kGather>;
template <class T, bool kGather>
using MidTiles = StreamGemmConfig<T, 1, 128, 3, 2, false, kGather>;
template <class T, bool kGather>
using LargeTiles = StreamGemmConfig<T, 2, 128, 4, 1, !kGather, kGather>;   // dense

inline CUtensorMap weight_map(const PackedWeight& weight) {
  return make_tensor_map({weight.data.data, weight.data.dtype, weight.num_matrices * weight.num_rows, weight.num_cols,
                          packed_pitch(weight.num_cols)}, 128);
}

inline StreamGemmView gemm_view(const PackedWeight& weight, const Tensor& in, const Tensor& out) {
  StreamGemmView view{};
  view.out = out.data, view.out_stride = out.strides[0], view.is_f32 = out.dtype == DType::kF32;
  view.weight_scales = scales_of(weight), view.in_scales = in.scales;
  view.num_tokens = static_cast<int>(in.shape[0]), view.size_n = static_cast<int>(weight.num_rows);
  view.size_k = static_cast<int>(weight.num_cols);
  return view;
}

inline void set_plan(StreamGemmView& view, const StreamGemmPlan& plan) {
  view.num_row_tiles = plan.num_row_tiles, view.num_token_tiles = plan.num_token_tiles;
  view.cluster_size = plan.cluster_size;
  view.weight_hint = plan.num_token_tiles == 1 ? kEvictFirst : kEvictNormal;
}

// Called once is_swiglu is known.
inline bool is_vectorizable(const StreamGemmView& view) {
  const int num_columns = view.is_swiglu ? view.size_n / 2 : view.size_n;
  return !view.is_f32 && num_columns % 8 == 0 && view.out_stride % 8 == 0 && view.head_out % 8 == 0 && reinterpret_cast<uintptr_t>(view.out) % 16 == 0;
}

template <class C>
void launch_stream_gemm(Stream& stream, const CUtensorMap& weights, const CUtensorMap& in, const StreamGemmView& view, int num_heads = 1) {
  auto kernel = stream_gemm_kernel<C>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  const int units = view.num_row_tiles * (C::kMulticast ? view.num_token_tiles / 2 : view.num_token_tiles);
  launch_cluster_pdl(stream, kernel, dim3(units * view.cluster_size * num_heads), view.cluster_size, dim3(C::kThreads),
                     C::kSharedBytes, weights, in, view);
}

template <class T>
void stream_dense_of_type(Stream& stream, const DenseProduct& product, const StreamGemmPlan& plan) {
  const PackedWeight& weight = *product.weight;
  const Tensor& in = product.in;
  const int num_tokens = static_cast<int>(in.shape[0]), num_heads = static_cast<int>(weight.num_matrices);
  StreamGemmView view = gemm_view(weight, in, product.out);
  set_plan(view, plan);
  view.bias = product.bias.is_empty() ? nullptr : bf16(product.bias);
  view.is_swiglu = product.is_swiglu;
  if (num_heads > 1) view.head_in = in.strides[1], view.head_out = product.out.strides[1];
  view.is_vectorizable = is_vectorizable(view);
  // Rows that there are not would keep the copy engine busy, too.
  view.token_box = std::min(tokens_of(plan.tile), num_tokens);
  const int64_t in_cols = (num_heads - 1) * view.head_in + weight.num_cols;
  const CUtensorMap tokens = make_tensor_map({in.data, in.dtype, num_tokens, in_cols, in.strides[0]}, view.token_box);
  const CUtensorMap weights = weight_map(weight);
  switch (plan.tile) {
    case TileSize::kSmall: return launch_stream_gemm<SmallTiles<T, false>>(stream, weights, tokens, view, num_heads);
    case TileSize::kMid: return launch_stream_gemm<MidTiles<T, false>>(stream, weights, tokens, view, num_heads);
    case TileSize::kLarge: return launch_stream_gemm<LargeTiles<T, false>>(stream, weights, tokens, view, num_heads);
    case TileSize::kNarrow: break;
  }
  CHECK(false, "narrow tiles are for experts");
}

// For experts with many tokens, rows of results in whole 16-byte pieces.
template <class T>
void launch_expert_gemm(Stream& stream, const ExpertProduct& product) {
  using C = ExpertGemmConfig<T>;
  const Tensor& in = product.by_expert;
  const PackedWeight& weight = *product.weight;
  ExpertGemmView view{};
  view.out = bf16(product.out), view.out_stride = product.out.strides[0];
  view.weight_scales = scales_of(weight), view.in_scales = in.scales;
  view.sorted = product.sorted_rows.as<int32_t>(), view.offsets = product.expert_offsets.as<int32_t>();
  view.size_n = static_cast<int>(weight.num_rows), view.size_k = static_cast<int>(weight.num_cols);
  view.num_row_tiles = ceil_div(view.size_n, C::kRows), view.num_experts = static_cast<int>(weight.num_matrices);
  view.is_swiglu = product.is_swiglu;
  auto kernel = expert_gemm_kernel<C>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  const CUtensorMap weights = weight_map(weight);
  const MatrixView rows{in.data, in.dtype, in.shape[0], weight.num_cols, in.strides[0]};
  launch_cluster_pdl(stream, kernel, dim3(kNumSms), 2, dim3(C::kThreads), C::kSharedBytes, weights,
                     make_tensor_map(rows, C::kTokenBox), view);
}

template <class T>
void stream_experts_of_type(Stream& stream, const ExpertProduct& product, const Candidate& wanted) {
  const PackedWeight& weight = *product.weight;
  StreamGemmView view = gemm_view(weight, product.in, product.out);
  view.is_swiglu = product.is_swiglu;
  view.is_vectorizable = is_vectorizable(view);
  const int size_k_blocks = num_k_blocks(weight);
  const bool is_long = size_k_blocks >= ExpertGemmConfig<T>::kMinBlocks;
  const bool can_lay = weight.num_cols * sizeof(T) % 16 == 0;
  const ExpertPlan chosen = plan_expert_product({.num_rows = static_cast<int>(product.out.shape[0]),
                                                 .num_experts = static_cast<int>(weight.num_matrices),
                                                 .size_n = view.size_n,
                                                 .num_k_blocks = size_k_blocks,
                                                 .can_wide = view.is_vectorizable && is_long && can_lay,
                                                 .is_fp8 = weight.is_quantized()},
                                                wanted);
  if (chosen.kernel.kernel == ProductKernel::kWide) {
    lay_by_expert(stream, product);
    return launch_expert_gemm<T>(stream, product);
  }
  const StreamGemmPlan& plan = chosen.stream;
  set_plan(view, plan);
  view.in = product.in.data, view.in_stride = product.in.strides[0], view.rows_per_input = product.rows_per_input;
  view.sorted = product.sorted_rows.as<int32_t>(), view.offsets = product.expert_offsets.as<int32_t>();
  view.num_experts = static_cast<int>(weight.num_matrices), view.are_offsets_settled = product.are_offsets_settled;
  if (plan.tile == TileSize::kNarrow || plan.tile == TileSize::kSmall) view.weight_hint = kEvictFirst;
  const CUtensorMap weights = weight_map(weight);
  switch (plan.tile) {
    case TileSize::kNarrow: return launch_stream_gemm<NarrowTiles<T>>(stream, weights, weights, view);
    case TileSize::kSmall: return launch_stream_gemm<SmallTiles<T, true>>(stream, weights, weights, view);
    case TileSize::kMid: return launch_stream_gemm<MidTiles<T, true>>(stream, weights, weights, view);
    case TileSize::kLarge: break;
  }
  CHECK(false, "experts have no large tiles here");
}

}  // namespace gale::cuda
