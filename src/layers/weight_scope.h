#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "layers/parameter_store.h"
#include "weights/weight_set.h"

namespace gale {

// What a layer declares its weights with: a prefix of names, who asks, what the tensors are for. A layer built under a
// use other than kInUse claims its tensors and gets null pointers: it is declared and never run.
class WeightScope {
 public:
  WeightScope(WeightSet& weights, ParameterStore& store, std::string prefix, std::string owner, WeightUse use)
      : weights_(&weights), store_(&store), prefix_(std::move(prefix)), owner_(std::move(owner)), use_(use) {}

  [[nodiscard]] WeightScope child(std::string_view name) const;                 // prefix + name
  [[nodiscard]] WeightScope owned_by(std::string_view owner) const;             // for layers in use: a better name
  [[nodiscard]] WeightScope kept_for_later(std::string_view owner) const;
  [[nodiscard]] WeightScope never_quantized() const;                            // its matrices stay as they are
  [[nodiscard]] bool has(std::string_view name) const { return weights_->has(prefix_ + std::string(name)); }
  [[nodiscard]] DType activation_dtype() const { return store_->activation_dtype(); }
  // Whether matrices() come quantised, and so want quantised input.
  [[nodiscard]] bool quantizes() const { return is_quantizable_ && store_->weight_format() != WeightFormat::kAsIs; }

  // The named tensor as it lies in the file; problems go to the weight set.
  Tensor claim(std::string_view name, const Shape& shape, WeightDType dtype = WeightDType::kFloat) const;
  // A matrix that may be stored in e4m3 with scales; where matrices stay as they are it comes widened to bf16.
  Tensor claim_matrix(std::string_view name, const Shape& shape) const;
  // Claimed tensors as a matrix for `linear` (one of num_matrices), see PackLinearArgs.
  [[nodiscard]] const PackedWeight* matrices(std::vector<Tensor> sources, int64_t num_matrices, RowOrder order) const;
  // Claimed tensors joined, in the activation type.
  [[nodiscard]] const Tensor* vector(std::vector<Tensor> sources) const {
    return tensor(std::move(sources), activation_dtype());
  }
  [[nodiscard]] const Tensor* tensor(std::vector<Tensor> sources, DType dtype,
                                     TensorUse use = TensorUse::kLookup) const;
  [[nodiscard]] const Tensor* router_bias(const Tensor& source, int num_chosen) const;

 private:
  WeightSet* weights_;
  ParameterStore* store_;
  std::string prefix_;
  std::string owner_;
  WeightUse use_;
  bool is_quantizable_ = true;
};

}  // namespace gale
