#include "tensor/tensor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace gale {

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: return 4;
    case DType::kF16:
    case DType::kBF16: return 2;
    case DType::kF8E4M3: return 1;
    case DType::kI32:
    case DType::kU32: return 4;
    case DType::kI64: return 8;
    case DType::kU8: return 1;
  }
  CHECK(false, "dtype {}", static_cast<int>(dtype));
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kF8E4M3: return "f8e4m3";
    case DType::kI32: return "i32";
    case DType::kI64: return "i64";
    case DType::kU32: return "u32";
    case DType::kU8: return "u8";
  }
  CHECK(false, "dtype {}", static_cast<int>(dtype));
}

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  CHECK(extents.size() <= kMaxRank, "rank {}, at most {}", extents.size(), kMaxRank);
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

int64_t Shape::num_elements() const {
  int64_t count = 1;
  for (int dim = 0; dim < rank_; ++dim) count *= extents_[static_cast<size_t>(dim)];
  return count;
}

std::string Shape::to_string() const {
  return fmt::format("{}", std::span<const int64_t>(extents_.data(), static_cast<size_t>(rank_)));
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(extents_.begin(), extents_.begin() + rank_, other.extents_.begin());
}

namespace {

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    strides.set(dim, stride);
    stride *= shape[dim];
  }
  return strides;
}

// Address of the element `num_elements` further on; null stays null, so that views of empty tensors are legal.
void* advanced(const Tensor& tensor, int64_t num_elements) {
  if (tensor.data == nullptr) return nullptr;
  return static_cast<std::byte*>(tensor.data) + num_elements * static_cast<int64_t>(size_of(tensor.dtype));
}

}  // namespace

Tensor Tensor::contiguous(void* data, DType dtype, const Shape& shape) {
  return {.data = data, .dtype = dtype, .shape = shape, .strides = row_major_strides(shape)};
}

bool Tensor::is_contiguous() const {
  if (num_elements() == 0) return true;
  int64_t expected = 1;
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    if (shape[dim] != 1 && strides[dim] != expected) return false;   // the stride of a single element is never used
    expected *= shape[dim];
  }
  return true;
}

Tensor Tensor::slice(int dim, int64_t begin, int64_t end) const {
  CHECK(0 <= begin && begin <= end && end <= shape[dim], "slice {} … {} of dim {} of {}", begin, end, dim, describe());
  Tensor result = *this;
  result.shape.set(dim, end - begin);
  result.data = advanced(*this, begin * strides[dim]);
  if (scales != nullptr && dim == 0) result.scales = scales + begin;
  return result;
}

Tensor Tensor::operator[](int64_t index) const {
  CHECK(shape.rank() > 0 && 0 <= index && index < shape[0], "index {} of {}", index, describe());
  Tensor result = *this;
  result.shape = Shape();
  result.strides = Shape();
  std::array<int64_t, Shape::kMaxRank> extents{}, steps{};
  const size_t rank = static_cast<size_t>(shape.rank() - 1);
  for (size_t dim = 0; dim < rank; ++dim) {
    extents[dim] = shape[static_cast<int>(dim) + 1];
    steps[dim] = strides[static_cast<int>(dim) + 1];
  }
  result.shape = Shape(std::span<const int64_t>(extents.data(), rank));
  result.strides = Shape(std::span<const int64_t>(steps.data(), rank));
  result.data = advanced(*this, index * strides[0]);
  if (scales != nullptr) result.scales = scales + index;
  return result;
}

Tensor Tensor::view(const Shape& new_shape) const {
  CHECK(is_contiguous(), "view of a strided {}", describe());
  CHECK(new_shape.num_elements() == num_elements(), "view of {} as {}", describe(), new_shape.to_string());
  Tensor result = contiguous(data, dtype, new_shape);
  result.scales = scales;
  return result;
}

Tensor Tensor::transposed(int dim_a, int dim_b) const {
  CHECK(scales == nullptr, "transposing rows that carry scales: {}", describe());
  Tensor result = *this;
  result.shape.set(dim_a, shape[dim_b]);
  result.shape.set(dim_b, shape[dim_a]);
  result.strides.set(dim_a, strides[dim_b]);
  result.strides.set(dim_b, strides[dim_a]);
  return result;
}

std::string Tensor::describe() const { return fmt::format("{} {}", name_of(dtype), shape.to_string()); }

}  // namespace gale
