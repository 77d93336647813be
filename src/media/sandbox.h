#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gale {

struct SandboxLimits {
  std::chrono::milliseconds wall_time{20'000};
  int cpu_seconds = 15;
  size_t memory_bytes = size_t{1} << 30;        // address space
  size_t output_bytes = size_t{16} << 20;
};

struct SandboxResult {
  int exit_code = 0;
  std::string output;                           // what it wrote to stdout
  std::string complaint;                        // the beginning of what it wrote to stderr
};

// Runs a program of this machine over hostile bytes, which it finds as an unnamed file on its stdin (/proc/self/fd/0),
// and waits for it. It has no network, starts no processes, changes no files, has limits on time, memory and output, an
// empty environment and no other descriptors; it dies with us. Errors: kNotFound (no such program), kDeadline (time),
// kTooLarge (output), kCorrupt (it was killed by a signal).
[[nodiscard]] Result<SandboxResult> run_in_sandbox(const std::vector<std::string>& command, std::string_view input,
                                                   const SandboxLimits& limits);

}  // namespace gale
