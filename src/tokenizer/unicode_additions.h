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

struct CodePointRange {
  uint32_t first;
  uint32_t last;
};

// Code points, in order, whose combining class or composition is newer than the normal form of Hugging Face's library:
// there they are like letters, which neither move nor compose.
[[nodiscard]] std::span<const CodePointRange> inert_in_nfc();

}  // namespace gale
