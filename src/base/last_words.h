#pragma once

#include <functional>
#include <string>

namespace gale {

// Called by a failed CHECK, with the line it has printed, before the process aborts: for a process that has somebody to
// tell. It may end the process itself. A CHECK that fails within it aborts at once. An empty function takes it back.
using LastWords = std::function<void(const std::string& line)>;
void set_last_words(LastWords words);

}  // namespace gale
