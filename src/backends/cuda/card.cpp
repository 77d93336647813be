#include "backends/cuda/card.h"

#include <fmt/format.h>

namespace gale::cuda {
namespace {

constexpr int kMinMajor = 8;  // compute capability

std::string version_of(int cuda) { return fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10); }

}  // namespace

// cudaErrorInsufficientDriver is also what CUDA says where no driver is at all, or where libcuda is not the driver's
// own: the version tells.
std::string explain_no_device(cudaError_t error, int driver) {
  if (driver == 0) return "no NVIDIA driver is installed";
  const std::string own = version_of(CUDART_VERSION), theirs = version_of(driver);
  if (error == cudaErrorInsufficientDriver && driver < CUDART_VERSION)
    return fmt::format("the NVIDIA driver supports CUDA {}; this build needs {}: update the driver", theirs, own);
  if (error == cudaErrorNoDevice) return "the driver sees no NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)";
  return fmt::format(
      "the NVIDIA driver (CUDA {}) does not work: {} ({} {}); see whether nvidia-smi does, and whether libcuda.so.1 is "
      "the driver's own",
      theirs, cudaGetErrorString(error), cudaGetErrorName(error), static_cast<int>(error));
}

std::optional<std::string> reason_against_card(const std::string& name, int major, int minor, bool has_kernels) {
  if (major < kMinMajor)
    return fmt::format("{} has compute capability {}.{}; gale needs {}.0 (A100, RTX 30) or later", name, major, minor,
                       kMinMajor);
  if (has_kernels) return std::nullopt;
  return fmt::format(
      "this build has no kernels for {} (compute capability {}.{}): build with GALE_CUDA_ARCHITECTURES=\"{}{}-real\"",
      name, major, minor, major, minor);
}

}  // namespace gale::cuda
