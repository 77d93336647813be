#pragma once

#include <string>
#include <string_view>

namespace gale {

// Unicode normal form C as Hugging Face's library makes it (Unicode 9: what is newer stays as it is). `text` must be
// valid UTF-8. n log n also for long runs of combining marks.
[[nodiscard]] std::string normalize_nfc(std::string_view text);

[[nodiscard]] bool is_ascii(std::string_view text);

}  // namespace gale
