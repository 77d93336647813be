#pragma once

#include <array>
#include <string_view>

#include "tokenizer/char_class.h"
#include "tokenizer/splitter.h"

namespace gale {

// DeepSeek-V3 cuts by three patterns one after the other: numbers, then Chinese and Japanese, then words and signs.
inline constexpr std::array<std::string_view, 3> kDeepSeekPatterns = {
    R"(\p{N}{1,3})", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

// The three at once, by hand: one pass, linear for every input. Every piece lies within a segment: digits, or a run of
// Chinese and Japanese, or what is between those; a pattern's "end of the text" is the end of the segment.
class DeepSeekScanner final : public Splitter {
 public:
  // `classes` is the finer table.
  explicit DeepSeekScanner(CharClassTable classes) : classes_(std::move(classes)) {}
  void split(std::string_view text, std::vector<size_t>& ends) const override;

 private:
  const CharClassTable classes_;
};

}  // namespace gale
