#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/splitter.h"

namespace gale {

// PCRE2 with its just-in-time compiler, made to agree with oniguruma (the engine of Hugging Face's tokenizers), whose
// \s is Unicode's White_Space. An input on which PCRE2 gives up (its limits) is logged and its rest left in one piece.
class RegexSplitter final : public Splitter {
 public:
  [[nodiscard]] static Result<std::unique_ptr<RegexSplitter>> compile(const std::string& pattern);
  ~RegexSplitter() override;
  void split(std::string_view text, std::vector<size_t>& ends) const override;

 private:
  struct Code;
  explicit RegexSplitter(std::unique_ptr<const Code> code);
  std::unique_ptr<const Code> code_;
};

// The pattern in PCRE2's words: \s and \S written out, \p{..} and \P{..} with the code points of a newer Unicode than
// PCRE2's, inside and outside of brackets. Fails on what has no equal in PCRE2: \S and \P{..} within brackets,
// intersections (&&) and nested brackets.
[[nodiscard]] Result<std::string> pcre2_pattern(std::string_view oniguruma_pattern);

}  // namespace gale
