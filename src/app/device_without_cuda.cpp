#include "app/device.h"

namespace gale {

bool has_cuda_build() { return false; }

Result<ChosenDevice> open_cuda_device(const EngineConfig&) {
  return fail(ErrorCode::kUnavailable,
              "this gale was built without CUDA: build it where nvcc is (cmake --preset release-cuda)");
}

std::optional<std::string> cuda_failure() { return std::nullopt; }

}  // namespace gale
