#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace gale {

// A string's text; empty for every other kind, and good as long as the value. To be compared with literals: the
// library's own comparison with one makes a JSON of it, and that, without memory for it, ends the process.
[[nodiscard]] inline std::string_view text_of(const Json& value) noexcept {
  const auto* text = value.get_ptr<const std::string*>();
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

}  // namespace gale
