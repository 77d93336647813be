#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace gale {

// The alphabet in which byte-level vocabularies are written: each byte is one printable code point (a space is U+0120).

// The bytes that `written` stands for; nothing if a character is outside of the alphabet.
[[nodiscard]] std::optional<std::string> bytes_from_alphabet(std::string_view written);

}  // namespace gale
