#pragma once

#include <cstdlib>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

namespace gale {

// A parser of outside bytes, and what must hold for whatever it is given. `run` ends the process where it does not.
struct FuzzTarget {
  std::string_view name;   // its corpus: tests/fuzz/corpus/<name>
  void (*run)(std::string_view input);
};

// One a file of tests/fuzz; the program's own table in the order of fuzz_targets.cpp.
[[nodiscard]] std::span<const FuzzTarget> fuzz_targets();

// Ends the process with the reason, which sanitizers and libFuzzer take for a finding.
[[noreturn]] inline void fuzz_fail(std::string_view reason) {
  std::cerr << "broken promise: " << reason << "\n";
  std::abort();
}
inline void fuzz_check(bool holds, std::string_view promise) {
  if (!holds) fuzz_fail(promise);
}

// What people read of an error: something, in one line.
inline void fuzz_check_message(const std::string& message) {
  fuzz_check(!message.empty() && message.find('\n') == std::string::npos, "an error is one line: " + message);
}

}  // namespace gale
