#pragma once

#include <chrono>

namespace gale {

// Takes SIGTERM, SIGINT, SIGHUP and SIGUSR2 for this process: they are held back from every thread and asked for here.
// Create it before any thread starts, as threads inherit what is held back.
class StopSignals {
 public:
  StopSignals();
  // Whether one came; waits up to `timeout` for it. Each is told once.
  [[nodiscard]] bool wait(std::chrono::milliseconds timeout) const;
  // Whether SIGHUP came since this was last asked: what is read from files is to be read again.
  [[nodiscard]] bool wants_reload() const;
  // The same of SIGUSR2: a new program is to take over.
  [[nodiscard]] bool wants_successor() const;
};

}  // namespace gale
