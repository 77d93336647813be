#include "backends/cuda/cuda_backend.h"
#include "support/harness.h"

namespace gale {

std::unique_ptr<Harness> make_harness() {
  auto device = make_cuda_device(0);
  CHECK(device, "{}", device.error().message);
  return std::make_unique<Harness>(std::move(*device), cuda_op_table());
}

}  // namespace gale
