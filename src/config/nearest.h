#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gale {

// The candidate that a mistyped word probably meant: fewest edits (a swap of neighbours counts one); none if all are
// far off.
[[nodiscard]] std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> candidates);

}  // namespace gale
