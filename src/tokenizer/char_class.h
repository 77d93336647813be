#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gale {

enum class CharClass : uint8_t { kOther, kLetter, kNumber, kSpace, kNewline };   // \p{L}, \p{N}, \s without, \r or \n

// The class of every code point, taken from PCRE2, so that scanners and patterns agree.
class CharClassTable {
 public:
  [[nodiscard]] static Result<CharClassTable> make();
  [[nodiscard]] CharClass operator[](uint32_t code_point) const { return classes_[code_point]; }

 private:
  static constexpr uint32_t kNumCodePoints = 0x110000;
  explicit CharClassTable(std::vector<CharClass> classes) : classes_(std::move(classes)) {}
  std::vector<CharClass> classes_;
};

}  // namespace gale
