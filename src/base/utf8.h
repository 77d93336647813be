#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gale {

struct CodePoint {
  uint32_t value;   // kInvalidCodePoint if the bytes are not valid UTF-8 (length is then 1)
  int length;       // bytes
};
inline constexpr uint32_t kInvalidCodePoint = 0xFFFFFFFF;

// The code point that starts at text[0]. Precondition: !text.empty().
[[nodiscard]] CodePoint decode_utf8(std::string_view text);

void append_utf8(std::string& out, uint32_t code_point);

[[nodiscard]] bool is_valid_utf8(std::string_view text);

// Length of the longest prefix that does not end inside a code point that further bytes could complete.
[[nodiscard]] size_t complete_utf8_prefix(std::string_view text);

// The text with each maximal invalid byte sequence replaced by U+FFFD, as Python's errors="replace" does.
[[nodiscard]] std::string replace_invalid_utf8(std::string_view text);

}  // namespace gale
