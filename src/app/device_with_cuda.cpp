#include "app/device.h"
#include "backends/cuda/cuda_backend.h"

namespace gale {

bool has_cuda_build() { return true; }

Result<ChosenDevice> open_cuda_device(const EngineConfig& config) {
  GALE_ASSIGN(std::unique_ptr<Device> device, make_cuda_device(0, config.kernel_table));
  return ChosenDevice(std::move(device), cuda_op_table());
}

std::optional<std::string> cuda_failure() { return cuda_device_failure(); }

}  // namespace gale
