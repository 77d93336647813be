#pragma once

#include <fmt/format.h>

#include <source_location>
#include <string>
#include <string_view>

namespace gale {

// Prints what was violated and where to stderr, then aborts. For our own mistakes only; never for bad input.
[[noreturn]] void check_failed(std::string_view condition, const std::string& detail,
                               const std::source_location& where);

}  // namespace gale

// CHECK(condition) or CHECK(condition, "format {}", values...): always on.
#define CHECK(condition, ...)                                                                                        \
  do {                                                                                                               \
    if (!(condition)) [[unlikely]]                                                                                   \
      ::gale::check_failed(#condition, ::fmt::format("" __VA_ARGS__), std::source_location::current());              \
  } while (false)
