#pragma once

#include <sys/types.h>

#include <optional>

namespace gale {

// A second `gale serve` that this one starts to be followed by it: the program that now lies where this one was started
// from, with the same arguments, environment and streams, and --takeover.
class Successor {
 public:
  void start();
  // Notices, in the log, one that ended without taking over.
  void look();

 private:
  std::optional<pid_t> pid_;
};

}  // namespace gale
