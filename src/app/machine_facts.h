#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gale {

// What Linux tells in /proc about who uses the machine. What cannot be read (other users' processes) is left out.

struct ProcessFacts {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string name;                    // of the program; of a gale with its command: "gale engine"
  int64_t resident_bytes = 0;
};
// All that can be seen, the largest first. 
[[nodiscard]] std::vector<ProcessFacts> all_processes();

// How a process was started, the program first; empty if we may not see that.
[[nodiscard]] std::vector<std::string> arguments_of(pid_t pid);

// Who listens on a TCP port of this machine. pid 0: somebody whose processes we may not look into.
[[nodiscard]] std::optional<ProcessFacts> listener_of(int port);

// The first line of a file that begins with `prefix`, without it; empty if there is none.
[[nodiscard]] std::string line_of(const std::string& path, const std::string& prefix);

// What a program prints; empty if it is not there or fails.
[[nodiscard]] std::string output_of(const std::vector<std::string>& command);

}  // namespace gale
