#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gale {

// \p{L}, \p{N}, \s but for the next, \r or \n, and in the finer table \p{M}, \p{P} or \p{S}. The last four are kOther,
// kLetter, kMark and kSign among Chinese characters and Japanese syllables, in the finer table.
enum class CharClass : uint8_t {
  kOther, kLetter, kNumber, kSpace, kNewline, kMark, kSign, kCjkOther, kCjkLetter, kCjkMark, kCjkSign
};

// The class of every code point, taken from PCRE2, so that scanners and patterns agree.
class CharClassTable {
 public:
  // kOther to kNewline.
  [[nodiscard]] static Result<CharClassTable> make();
  // All classes; those of CJK for [一-龥぀-ゟ゠-ヿ], the characters that DeepSeek's pattern keeps apart.
  [[nodiscard]] static Result<CharClassTable> make_finer();
  [[nodiscard]] CharClass operator[](uint32_t code_point) const { return classes_[code_point]; }

 private:
  static constexpr uint32_t kNumCodePoints = 0x110000;
  explicit CharClassTable(std::vector<CharClass> classes) : classes_(std::move(classes)) {}
  std::vector<CharClass> classes_;
};

}  // namespace gale
