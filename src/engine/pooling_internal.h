#pragma once

#include <vector>

#include "tensor/device.h"

namespace gale {

// Pools rows of hidden states on the host: their mean, summed one after the other in double, so that the result does
// not depend on how a prompt was cut into steps. One sum for each slot of the scheduler; needs no kernel of the device.
class Pooler {
 public:
  [[nodiscard]] static Result<Pooler> create(Device& device, int hidden_size, int num_slots);
  [[nodiscard]] static size_t num_bytes(int hidden_size);

  // Another sequence has the slot, or the same from its first token on.
  void start(int slot) { sums_[static_cast<size_t>(slot)] = {}; }
  // rows: [R, H], f32 or bf16, on the device. Waits for the stream.
  void add(Stream& stream, int slot, const Tensor& rows);
  // The mean of what was added; the slot starts afresh.
  [[nodiscard]] std::vector<float> take(int slot);

 private:
  struct Sum {
    std::vector<double> values;
    int64_t num_rows = 0;
  };
  Pooler(Device& device, Arena host, int num_slots)
      : device_(&device), host_(std::move(host)), sums_(static_cast<size_t>(num_slots)) {}

  Device* device_;
  Arena host_;
  std::vector<Sum> sums_;
};

}  // namespace gale
