#pragma once

#include "backends/cuda/device/skinny_gemm.cuh"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/stream_gemm.h"
#include "backends/cuda/tensor_map.h"
#include "backends/cuda/tile_gemm_plan.h"

// Host side of device/skinny_gemm.cuh; the skinny_gemm_*_sm90.cu files instantiate it.
namespace gale::cuda {

template <class C>
void launch_skinny_gemm(Stream& stream, const DenseProduct& product) {
  const PackedWeight& weight = *product.weight;
  const Tensor &in = product.in, &out = product.out;
  SkinnyGemmView view{};
  view.out = bf16(out), view.out_stride = out.strides[0];
  view.weight_scales = scales_of(weight), view.in_scales = in.scales;
  view.bias = product.bias.is_empty() ? nullptr : bf16(product.bias);
  view.num_tokens = static_cast<int>(in.shape[0]), view.size_n = static_cast<int>(weight.num_rows);
  view.num_k_blocks = ceil_div(weight.num_cols, C::kBlockK);
  const CUtensorMap weights = make_tensor_map(
      {weight.data.data, weight.data.dtype, weight.num_rows, weight.num_cols, packed_pitch(weight.num_cols)}, C::kRows);
  const CUtensorMap tokens =
      make_tensor_map({in.data, in.dtype, view.num_tokens, weight.num_cols, in.strides[0]}, view.num_tokens);
  auto kernel = skinny_gemm_kernel<C>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_pdl(stream, kernel, dim3(ceil_div(view.size_n, C::kRows)), dim3(C::kThreads), C::kSharedBytes, weights, tokens,
             view);
}

template <class T, int kRows>
void launch_skinny_gemm_of_rows(Stream& stream, const DenseProduct& product) {
  switch (skinny_tokens(static_cast<int>(product.in.shape[0]))) {
    case 8:
      return launch_skinny_gemm<SkinnyGemmConfig<T, kRows, 8>>(stream, product);
    case 16:
      return launch_skinny_gemm<SkinnyGemmConfig<T, kRows, 16>>(stream, product);
    case 32:
      return launch_skinny_gemm<SkinnyGemmConfig<T, kRows, 32>>(stream, product);
    default:
      return launch_skinny_gemm<SkinnyGemmConfig<T, kRows, 64>>(stream, product);
  }
}

template <class T>
void skinny_dense_of_type(Stream& stream, const DenseProduct& product, int rows) {
  if (rows == 16) return launch_skinny_gemm_of_rows<T, 16>(stream, product);
  launch_skinny_gemm_of_rows<T, 32>(stream, product);
}

}  // namespace gale::cuda
