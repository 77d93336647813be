#include "layers/weight_scope.h"

#include <fmt/format.h>

#include <algorithm>

namespace gale {

WeightScope WeightScope::child(std::string_view name) const {
  WeightScope out = *this;
  out.prefix_ += name;
  return out;
}

WeightScope WeightScope::owned_by(std::string_view owner) const {
  WeightScope out = *this;
  if (use_ == WeightUse::kInUse) out.owner_ = owner;
  return out;
}

WeightScope WeightScope::kept_for_later(std::string_view owner) const {
  WeightScope out = *this;
  out.owner_ = owner;
  out.use_ = WeightUse::kKeptForLater;
  return out;
}

WeightScope WeightScope::never_quantized() const {
  WeightScope out = *this;
  out.is_quantizable_ = false;
  return out;
}

Tensor WeightScope::claim(std::string_view name, const Shape& shape, WeightDType dtype) const {
  return weights_->claim(
      {.name = prefix_ + std::string(name), .shape = shape, .owner = owner_, .use = use_, .dtype = dtype});
}

Tensor WeightScope::claim_matrix(std::string_view name, const Shape& shape) const {
  const Tensor claimed = claim(name, shape, WeightDType::kMatrix);
  return use_ == WeightUse::kInUse && !is_quantizable_ ? weights_->without_scales(claimed) : claimed;
}

const PackedWeight* WeightScope::matrices(std::vector<Tensor> sources, int64_t num_matrices, RowOrder order) const {
  if (use_ != WeightUse::kInUse) return nullptr;
  const bool is_complete =
      std::none_of(sources.begin(), sources.end(), [](const Tensor& t) { return t.data == nullptr; });
  const auto other = std::find_if(sources.begin(), sources.end(),
                                  [&](const Tensor& t) { return t.dtype != sources.front().dtype; });
  if (is_complete && other != sources.end()) {
    weights_->note_problem(fmt::format("{}*: {} and {} cannot be joined into one matrix", prefix_,
                                       name_of(sources.front().dtype), name_of(other->dtype)));
  }
  const bool is_scaled = sources.front().dtype == DType::kF8E4M3;
  if (is_complete && quantizes() && !is_scaled && weights_->has_scaled_matrices()) {
    weights_->note_problem(fmt::format("{}*: {} among FP8 matrices; layers of both kinds are not supported", prefix_,
                                       name_of(sources.front().dtype)));
  }
  return store_->add_matrices(std::move(sources), num_matrices, order,
                              is_quantizable_ ? store_->weight_format() : WeightFormat::kAsIs);
}

const Tensor* WeightScope::tensor(std::vector<Tensor> sources, DType dtype, TensorUse use) const {
  if (use_ != WeightUse::kInUse) return nullptr;
  return store_->add_tensor(std::move(sources), dtype, use);
}

const Tensor* WeightScope::router_bias(const Tensor& source, int num_chosen) const {
  return use_ == WeightUse::kInUse ? store_->add_router_bias(source, num_chosen) : nullptr;
}

}  // namespace gale
