#pragma once

#include "tensor/device.h"

namespace gale {

// Stands in for an Arena and only counts: what a function template that allocates scratch would take.
class ArenaMeter {
 public:
  Tensor allocate(DType dtype, const Shape& shape) {
    const Tensor tensor = Tensor::contiguous(nullptr, dtype, shape);
    bytes_ += Arena::padded(tensor.num_bytes());
    return tensor;
  }
  [[nodiscard]] size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

// Bytes that `take(allocator)` allocates.
template <class Take>
[[nodiscard]] size_t metered_bytes(const Take& take) {
  ArenaMeter meter;
  take(meter);
  return meter.bytes();
}

// A tensor where another one lies that is not needed any more, or not yet; CHECKs that it fits.
[[nodiscard]] inline Tensor tensor_within(const Tensor& memory, DType dtype, const Shape& shape) {
  const Tensor tensor = Tensor::contiguous(memory.data, dtype, shape);
  CHECK(tensor.num_bytes() <= memory.num_bytes(), "{} do not fit {}", tensor.describe(), memory.describe());
  return tensor;
}

// Gives what was taken from the workspace within a block back at its end.
class WorkspaceScope {
 public:
  explicit WorkspaceScope(Arena& workspace) : workspace_(workspace), mark_(workspace.used_bytes()) {}
  ~WorkspaceScope() { workspace_.rewind(mark_); }
  WorkspaceScope(const WorkspaceScope&) = delete;
  WorkspaceScope& operator=(const WorkspaceScope&) = delete;

 private:
  Arena& workspace_;
  size_t mark_;
};

}  // namespace gale
