#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "base/result.h"
#include "ops/linear.h"
#include "tensor/device.h"

namespace gale {

// Owns a model's weights on its device. Layers declare what they need and keep the pointers they get; load() packs and
// copies all of it into one arena and fills what the pointers point to. Sources must stay readable until load()
// returns.
class ParameterStore {
 public:
  explicit ParameterStore(DType activation_dtype) : activation_dtype_(activation_dtype) {}
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  [[nodiscard]] DType activation_dtype() const { return activation_dtype_; }

  // Matrices for `linear` and its relatives; see PackLinearArgs. All sources have one dtype.
  const PackedWeight* add_matrices(std::vector<Tensor> sources, int64_t num_matrices, RowOrder order);
  // Sources of equal trailing extents joined along their first, as `dtype`: norm weights, biases, tables, routers.
  const Tensor* add_tensor(std::vector<Tensor> sources, DType dtype);

  // Once. kOutOfMemory says how much was asked for.
  Status load(Device& device, OpContext& ops, const std::function<void(double)>& on_progress);
  [[nodiscard]] size_t num_bytes() const { return arena_ ? arena_->capacity_bytes() : 0; }

 private:
  struct Matrices { PackedWeight packed; std::vector<Tensor> sources; int64_t num_matrices; RowOrder order; };
  struct Joined { Tensor tensor; std::vector<Tensor> sources; };
  class Staging;
  [[nodiscard]] size_t bytes_needed(OpContext& ops) const;

  DType activation_dtype_;
  std::deque<Matrices> matrices_;   // deques: layers hold pointers into them
  std::deque<Joined> joined_;
  std::optional<Arena> arena_;
};

}  // namespace gale
