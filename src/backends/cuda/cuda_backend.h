#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "ops/op_table.h"
#include "tensor/device.h"

namespace gale {

// The CUDA device with this index, made current for the calling thread's work on it. kUnavailable says in words what is
// wrong: no driver, a driver too old for this build, no such device, a card this build has no kernels for.
// kernel_table: a file of `gale tune`, empty for the table that this build holds for the card, "off" for none;
// kInvalidArgument says what is wrong with it.
[[nodiscard]] Result<std::unique_ptr<Device>> make_cuda_device(int index, const std::string& kernel_table = "");

// What the card says if this process has lost it: a fault of a kernel, a card that fell off the bus. Nothing brings it
// back to this process; a new one may be fine. Nothing if it answers, or was never opened.
[[nodiscard]] std::optional<std::string> cuda_device_failure();

// Every op's implementations, best first. The portable ones run on sm_80 and later.
[[nodiscard]] const OpTable& cuda_op_table();

}  // namespace gale
