#pragma once

#include <memory>

#include "base/result.h"
#include "ops/op_table.h"
#include "tensor/device.h"

namespace gale {

// The CUDA device with this index, made current for the calling thread's work on it. kUnavailable says in words what is
// wrong: no driver, a driver too old for this build, no such device, a card this build has no kernels for.
[[nodiscard]] Result<std::unique_ptr<Device>> make_cuda_device(int index);

// Every op's implementations, best first. The portable ones run on sm_80 and later.
[[nodiscard]] const OpTable& cuda_op_table();

}  // namespace gale
