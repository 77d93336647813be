#pragma once

#include <initializer_list>
#include <string_view>

#include "ops/op.h"

namespace gale {

// Checks the arguments of one op; a failure names op, argument, what was expected and what came.
class ArgCheck {
 public:
  ArgCheck(std::string_view op, const OpContext& context) : op_(op), caps_(context.caps) {}

  // Extents equal, type equal, innermost elements side by side (outer dimensions may be strided).
  void tensor(std::string_view name, const Tensor& tensor, DType dtype, const Shape& shape) const;
  // The same with the type of activations.
  void activation(std::string_view name, const Tensor& tensor, const Shape& shape) const;
  // The same with one of several types.
  void one_of(std::string_view name, const Tensor& tensor, std::initializer_list<DType> dtypes,
              const Shape& shape) const;
  // Absent (null data or no elements), or as `activation`.
  void optional_activation(std::string_view name, const Tensor& tensor, const Shape& shape) const;
  // f8e4m3 with one scale a row of the innermost dimension.
  void quantized(std::string_view name, const Tensor& tensor, const Shape& shape) const;
  void activation_or_quantized(std::string_view name, const Tensor& tensor, const Shape& shape) const;
  void optional_quantized(std::string_view name, const Tensor& tensor, const Shape& shape) const;
  void rank(std::string_view name, const Tensor& tensor, int rank) const;
  void that(bool condition, std::string_view expectation) const;

 private:
  std::string_view op_;
  const DeviceCaps& caps_;
};

}  // namespace gale
