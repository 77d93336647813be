#pragma once

#include <functional>
#include <span>
#include <string>

#include "backends/cuda/kernel_table.h"
#include "base/result.h"
#include "ops/product.h"
#include "tensor/device.h"

// What `gale tune` does on the card: every candidate of every product and bucket is checked against the first
// heuristic and timed.
namespace gale::cuda {

struct TuneRequest {
  std::span<const ProductShape> products;
  double max_seconds = 0;                              // what is not measured by then is left out
  std::function<void(const std::string& line)> say;    // what was measured, for people
};

struct TuneOutcome {
  KernelTable table;
  int num_left_out = 0;                                // buckets
  int num_wrong = 0;                                   // candidates whose results were not the heuristic's
};

// Of the device, as its table's head says it.
[[nodiscard]] const CardFacts& card_of(const Device& device);

// kUnavailable: this card has one kernel for each product. kOutOfMemory: for a product's operands.
[[nodiscard]] Result<TuneOutcome> tune_kernels(Device& device, const TuneRequest& request);

}  // namespace gale::cuda
