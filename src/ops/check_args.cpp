#include "ops/check_args.h"

#include <algorithm>

namespace gale {

void ArgCheck::one_of(std::string_view name, const Tensor& tensor, std::initializer_list<DType> dtypes,
                      const Shape& shape) const {
  const bool known = std::find(dtypes.begin(), dtypes.end(), tensor.dtype) != dtypes.end();
  CHECK(known, "{}: {} is {}, expected {}", op_, name, tensor.describe(), name_of(*dtypes.begin()));
  CHECK(tensor.shape == shape, "{}: {} is {}, expected {}", op_, name, tensor.describe(), shape.to_string());
  if (shape.num_elements() == 0) return;
  CHECK(tensor.data != nullptr, "{}: {} {} has no memory", op_, name, tensor.describe());
  const int last = shape.rank() - 1;
  CHECK(shape[last] == 1 || tensor.strides[last] == 1, "{}: elements of {} {} do not lie side by side", op_, name,
        tensor.describe());
}

void ArgCheck::tensor(std::string_view name, const Tensor& tensor, DType dtype, const Shape& shape) const {
  one_of(name, tensor, {dtype}, shape);
}

void ArgCheck::activation(std::string_view name, const Tensor& tensor, const Shape& shape) const {
  one_of(name, tensor, {caps_.activation_dtype}, shape);
}

void ArgCheck::optional_activation(std::string_view name, const Tensor& tensor, const Shape& shape) const {
  if (!tensor.is_empty()) activation(name, tensor, shape);
}

void ArgCheck::quantized(std::string_view name, const Tensor& tensor, const Shape& shape) const {
  one_of(name, tensor, {DType::kF8E4M3}, shape);
  CHECK(shape.num_elements() == 0 || tensor.scales != nullptr, "{}: {} {} has no scales", op_, name, tensor.describe());
}

void ArgCheck::activation_or_quantized(std::string_view name, const Tensor& tensor, const Shape& shape) const {
  if (tensor.dtype == DType::kF8E4M3) {
    quantized(name, tensor, shape);
  } else {
    activation(name, tensor, shape);
  }
}

void ArgCheck::optional_quantized(std::string_view name, const Tensor& tensor, const Shape& shape) const {
  if (!tensor.is_empty()) quantized(name, tensor, shape);
}

void ArgCheck::rank(std::string_view name, const Tensor& tensor, int rank) const {
  CHECK(tensor.shape.rank() == rank, "{}: {} is {}, expected rank {}", op_, name, tensor.describe(), rank);
}

void ArgCheck::that(bool condition, std::string_view expectation) const {
  CHECK(condition, "{}: {}", op_, expectation);
}

}  // namespace gale
