#pragma once

#include <chrono>

namespace gale {

// Takes SIGTERM and SIGINT for this process: they are held back from every thread and asked for here. Create it before any
// thread starts, as threads inherit what is held back.
class StopSignals {
 public:
  StopSignals();
  // Whether one came; waits up to `timeout` for it. Each is told once.
  [[nodiscard]] bool wait(std::chrono::milliseconds timeout) const;
};

}  // namespace gale
