#pragma once

#include <string_view>

namespace gale {

// The schemas of answers, as one JSON object by name.
[[nodiscard]] std::string_view answer_schemas();

}  // namespace gale
