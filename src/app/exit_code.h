#pragma once

#include "base/result.h"

namespace gale {

inline constexpr int kExitFailed = 1;      // the server, or what was measured, failed
inline constexpr int kExitUsage = 2;
inline constexpr int kExitModel = 3;
inline constexpr int kExitMemory = 4;
inline constexpr int kExitBusy = 5;
inline constexpr int kExitInternal = 70;
inline constexpr int kExitDevice = 71;     // an engine whose GPU failed

// The exit code of a process that could not start because of `code`.
[[nodiscard]] int exit_code(ErrorCode code);

// Prints the error as one line on stderr; its exit code.
[[nodiscard]] int report(const Error& error);

}  // namespace gale
