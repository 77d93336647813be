#pragma once

#include <chrono>

#include "base/log.h"

namespace gale {

// Takes SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 for this process: they are held back from every thread and asked
// for here. Create it before any thread starts, as threads inherit what is held back.
class StopSignals {
 public:
  StopSignals();
  // Whether one came; waits up to `timeout` for it. Each is told once.
  [[nodiscard]] bool wait(std::chrono::milliseconds timeout) const;
  // Whether SIGHUP came since this was last asked: what is read from files is to be read again.
  [[nodiscard]] bool wants_reload() const;
  // The same of SIGUSR1: what is logged is to be more, or as usual again.
  [[nodiscard]] bool wants_other_log_level() const;
  // The same of SIGUSR2: a new program is to take over.
  [[nodiscard]] bool wants_successor() const;
};

// From `usual` to debug, or back (from debug to info where debug is usual).
void switch_log_level(LogLevel usual);

}  // namespace gale
