#include "backends/cuda/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

namespace gale::cuda {
namespace {

// The driver is found at run time: the program starts without one.
PFN_cuTensorMapEncodeTiled_v12000 find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result);
  CHECK(error == cudaSuccess && result == cudaDriverEntryPointSuccess, "the driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

CUtensorMap make_tensor_map(const MatrixView& matrix, int box_rows, int box_bytes) {
  CHECK(box_bytes == 128 || box_bytes == 64, "a box of {} bytes", box_bytes);
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = find_encode();
  const size_t size = size_of(matrix.dtype);
  const cuuint64_t extents[2] = {static_cast<cuuint64_t>(matrix.num_cols), static_cast<cuuint64_t>(matrix.num_rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(matrix.row_stride) * size};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_bytes / size), static_cast<cuuint32_t>(box_rows)},
                   steps[2] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, size == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
             const_cast<void*>(matrix.data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             box_bytes == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK(result == CUDA_SUCCESS, "tensor map of [{}, {}] rows of {} {}: error {}", matrix.num_rows, matrix.num_cols,
        matrix.row_stride, name_of(matrix.dtype), static_cast<int>(result));
  return map;
}

}  // namespace gale::cuda
