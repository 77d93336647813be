#pragma once

#include <memory>

#include "ops/op_table.h"
#include "tensor/device.h"

namespace gale {

// The CPU as a device, with its own worker threads (num_threads in all, the caller counted in; 0: one a core).
// Its streams are synchronous. Its arenas are ordinary memory.
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(int num_threads);

// The readable reference: fp32 accumulation, each row computed alone in a fixed order.
[[nodiscard]] const OpTable& cpu_op_table();

}  // namespace gale
