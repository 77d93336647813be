#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "tensor/device.h"

namespace gale {

// Zeroed ordinary memory, page-aligned and touched only when used; for devices that compute on the host.
// kOutOfMemory if the machine has less available than asked for.
[[nodiscard]] Result<std::unique_ptr<Buffer>> allocate_host_memory(size_t num_bytes);

// Of this machine: what is installed, and what can be taken without swapping.
[[nodiscard]] DeviceMemory host_memory();

// The stream of a device whose work is done when the call returns: waiting and events are trivial, capture is a CHECK.
class SynchronousStream : public Stream {
 public:
  void synchronize() override {}
  [[nodiscard]] std::unique_ptr<StreamEvent> record() override;
  void begin_capture() override;
  [[nodiscard]] std::unique_ptr<Graph> end_capture() override;
  void launch(Graph& graph) override;
};

}  // namespace gale
