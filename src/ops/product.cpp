#include "ops/product.h"

#include <fmt/format.h>

namespace gale {

std::string describe(const ProductShape& shape) {
  const std::string matrices = shape.num_matrices == 1 ? "" : fmt::format("{} x ", shape.num_matrices);
  return fmt::format("{} {} {}[{}, {}]", name_of(shape.op), shape.is_fp8 ? "fp8" : "bf16", matrices, shape.num_rows,
                     shape.num_cols);
}

}  // namespace gale
