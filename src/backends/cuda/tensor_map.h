#pragma once

#include <cuda.h>

#include <cstdint>

#include "tensor/tensor.h"

namespace gale::cuda {

// A matrix of bf16 or e4m3 in device memory as the copy engine sees it: boxes of box_rows rows by 128 (or 64) bytes,
// swizzled by as many, zeros outside. Rows and the first element lie at multiples of 16 bytes.
struct MatrixView { const void* data; DType dtype; int64_t num_rows, num_cols, row_stride; };
[[nodiscard]] CUtensorMap make_tensor_map(const MatrixView& matrix, int box_rows, int box_bytes = 128);

}  // namespace gale::cuda
