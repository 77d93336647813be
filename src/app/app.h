#pragma once

#include <string>
#include <vector>

namespace gale {

// The program: reads the command line and runs its command. `program`: the path by which the engine process is started.
// The process's exit code.
[[nodiscard]] int run_program(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace gale
