#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace gale {

// Where a child finds its socket.
inline constexpr int kChildSocketFd = 3;

// Runs `command` (program path, arguments) as a process of its own group. It inherits standard streams and `socket` as
// descriptor kChildSocketFd, nothing else, and is killed if the thread that started it ends. Safe in a process with
// threads.
[[nodiscard]] Result<pid_t> start_child(const std::vector<std::string>& command, int socket);

// Kills a child that nobody has reaped, and reaps it; returns how it ended, as waitpid() does. Takes no memory.
int kill_child(pid_t pid);

// How a child ended, in words, from what waitpid() said.
[[nodiscard]] std::string describe_ending(int status);

}  // namespace gale
