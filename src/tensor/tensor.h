#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"

namespace gale {

enum class DType : uint8_t { kF32, kF16, kBF16, kF8E4M3, kI32, kI64, kU32, kU8 };

[[nodiscard]] size_t size_of(DType dtype);             // bytes of one element
[[nodiscard]] std::string_view name_of(DType dtype);   // "f32", "bf16", ...

// Up to five extents, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 5;
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int64_t operator[](int dim) const {
    CHECK(dim >= 0 && dim < rank_, "dim {} of rank {}", dim, rank_);
    return extents_[dim];
  }
  void set(int dim, int64_t extent) {
    CHECK(dim >= 0 && dim < rank_, "dim {} of rank {}", dim, rank_);
    extents_[dim] = extent;
  }
  [[nodiscard]] int64_t num_elements() const;   // 1 for rank 0
  [[nodiscard]] std::string to_string() const;  // "[256, 7168]"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

// A view: memory of some device, its type, extents and strides. Owns nothing; copying a Tensor copies no data.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  Shape strides;              // in elements, one for each extent
  float* scales = nullptr;    // one factor a row (quantised types), or null

  // Contiguous, row-major.
  [[nodiscard]] static Tensor contiguous(void* data, DType dtype, const Shape& shape);

  [[nodiscard]] bool is_empty() const { return data == nullptr || shape.num_elements() == 0; }
  [[nodiscard]] bool is_contiguous() const;
  [[nodiscard]] int64_t num_elements() const { return shape.num_elements(); }
  // if contiguous
  [[nodiscard]] size_t num_bytes() const { return static_cast<size_t>(num_elements()) * size_of(dtype); }

  // Element (begin … end) along `dim`; same rank.
  [[nodiscard]] Tensor slice(int dim, int64_t begin, int64_t end) const;
  // Element `index` of the outermost dimension; rank is one less.
  [[nodiscard]] Tensor operator[](int64_t index) const;
  // The same elements under other extents. Needs a contiguous tensor of equal size.
  [[nodiscard]] Tensor view(const Shape& new_shape) const;
  // The two dimensions exchanged, by strides.
  [[nodiscard]] Tensor transposed(int dim_a, int dim_b) const;

  // Typed pointer to the first element; CHECKs the dtype. bf16 and f16 are uint16_t, fp8 is uint8_t.
  template <class T>
  [[nodiscard]] T* as() const {
    CHECK(holds<T>(), "tensor is {}", name_of(dtype));
    return static_cast<T*>(data);
  }
  // Typed pointer to row `index` of the outermost dimension.
  template <class T>
  [[nodiscard]] T* row(int64_t index) const {
    return as<T>() + index * strides[0];
  }
  [[nodiscard]] std::string describe() const;   // "bf16 [256, 7168]"

 private:
  template <class T>
  [[nodiscard]] bool holds() const;
};

template <> [[nodiscard]] inline bool Tensor::holds<float>() const { return dtype == DType::kF32; }
template <>
[[nodiscard]] inline bool Tensor::holds<uint16_t>() const {
  return dtype == DType::kF16 || dtype == DType::kBF16;
}
template <>
[[nodiscard]] inline bool Tensor::holds<uint8_t>() const {
  return dtype == DType::kU8 || dtype == DType::kF8E4M3;
}
template <> [[nodiscard]] inline bool Tensor::holds<int32_t>() const { return dtype == DType::kI32; }
template <> [[nodiscard]] inline bool Tensor::holds<uint32_t>() const { return dtype == DType::kU32; }
template <> [[nodiscard]] inline bool Tensor::holds<int64_t>() const { return dtype == DType::kI64; }

}  // namespace gale
