#include "app/device.h"

#include "backends/cpu/cpu_backend.h"
#include "base/log.h"
#include "ops/op_table.h"
#include "tensor/device.h"

namespace gale {
namespace {

ChosenDevice open_cpu_device(const EngineConfig& config) {
  return {make_cpu_device(config.num_threads), cpu_op_table()};
}

}  // namespace

ChosenDevice::ChosenDevice() = default;
ChosenDevice::ChosenDevice(std::unique_ptr<Device> opened, const OpTable& table)
    : device(std::move(opened)), ops(&table) {}
ChosenDevice::ChosenDevice(ChosenDevice&&) noexcept = default;
ChosenDevice& ChosenDevice::operator=(ChosenDevice&&) noexcept = default;
ChosenDevice::~ChosenDevice() = default;

Result<ChosenDevice> choose_device(const EngineConfig& config) {
  switch (config.device) {
    case DeviceChoice::kCpu: return open_cpu_device(config);
    case DeviceChoice::kCuda: return open_cuda_device(config);
    case DeviceChoice::kAuto: break;
  }
  if (!has_cuda_build()) return open_cpu_device(config);
  Result<ChosenDevice> card = open_cuda_device(config);
  if (card || card.error().code == ErrorCode::kInvalidArgument) return card;   // no reason to do without
  log_info("computing on the processor: {}", card.error().message);
  return open_cpu_device(config);
}

}  // namespace gale
