#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "engine/engine_config.h"

namespace gale {

class Device;
struct OpTable;

// What computes: the device and its implementations of all ops. The device outlives all that is made on it.
struct ChosenDevice {
  ChosenDevice();
  ChosenDevice(std::unique_ptr<Device> device, const OpTable& ops);
  ChosenDevice(ChosenDevice&&) noexcept;
  ChosenDevice& operator=(ChosenDevice&&) noexcept;
  ~ChosenDevice();

  std::unique_ptr<Device> device;
  const OpTable* ops = nullptr;
};

// The device that --device asks for. auto: a CUDA card where this build and this machine have one, else the processor,
// saying why. kUnavailable: a card was asked for and cannot be had. kInvalidArgument: its table of kernels is wrong.
[[nodiscard]] Result<ChosenDevice> choose_device(const EngineConfig& config);

// The CUDA half, one file where CUDA is built and another where it is not.
[[nodiscard]] bool has_cuda_build();
[[nodiscard]] Result<ChosenDevice> open_cuda_device(const EngineConfig& config);
// What a card says that this process has lost; nothing if all is well or no card is in use.
[[nodiscard]] std::optional<std::string> cuda_failure();

}  // namespace gale
