#pragma once

#include <memory>
#include <vector>

#include "ops/linear.h"
#include "ops/op.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace gale::cuda {

// Random weights and inputs of one product in a card's memory, and room for its results. Of the weights there are as
// many copies as it takes to leave L2 between two uses of one.
class ProductOperands {
 public:
  [[nodiscard]] static Result<ProductOperands> make(Device& device, OpContext& context, const ProductShape& shape,
                                                    int max_tokens);

  [[nodiscard]] int num_copies() const { return static_cast<int>(weights_.size()); }
  // Of experts: who goes where in a step of so many tokens.
  void set_tokens(OpContext& context, int num_tokens);
  // The product by one of the copies, for so many tokens as were set.
  void run(OpContext& context, int copy) const;
  [[nodiscard]] bool is_rounded() const { return out_.dtype == DType::kF8E4M3; }   // the results are e4m3
  // Some rows of the results as numbers, from the first to the last. spoil_rows() overwrites them, so that rows that
  // are never written are found.
  void spoil_rows(OpContext& context) const;
  [[nodiscard]] std::vector<float> rows(OpContext& context) const;

 private:
  ProductOperands(Device& device, const ProductShape& shape) : device_(&device), shape_(shape) {}
  Result<Tensor> tensor(DType dtype, const Shape& shape);
  Status make_weights(OpContext& context);
  Status make_activations(OpContext& context, int max_tokens);
  Status make_routing(int max_tokens);
  Result<Tensor> input_room(int64_t num_rows);
  Result<Tensor> input(OpContext& context, int64_t num_rows);
  [[nodiscard]] std::vector<int64_t> sampled_rows() const;
  [[nodiscard]] Tensor results() const;                // [rows, width]
  [[nodiscard]] Tensor inputs() const;

  Device* device_;
  ProductShape shape_;
  int num_tokens_ = 0;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Arena> arenas_;
  std::vector<PackedWeight> weights_;
  Tensor in_, out_, scratch_, by_expert_;
  Tensor ids_, factors_, sorted_, offsets_;            // of experts
};

}  // namespace gale::cuda
