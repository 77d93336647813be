#pragma once

#include <string>
#include <string_view>

namespace gale {

// Unicode normal form C. `text` must be valid UTF-8. n log n also for long runs of combining marks.
[[nodiscard]] std::string normalize_nfc(std::string_view text);

[[nodiscard]] bool is_ascii(std::string_view text);

}  // namespace gale
