#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace gale {

// Code points that got their general category after Unicode 14, PCRE2's, and have it in Hugging Face's library.
struct UnicodeAddition {
  std::string_view category;   // two letters: "Lo"
  uint32_t first;
  uint32_t last;
};

[[nodiscard]] std::span<const UnicodeAddition> unicode_additions();

}  // namespace gale
