#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gale {

// Cuts text into the pieces that are tokenised on their own: each match of a pattern is a piece, and so is all text
// between matches. Immutable, so thread-safe.
class Splitter {
 public:
  virtual ~Splitter() = default;
  // Appends the end of each piece in order; the last is text.size(). `text` is valid UTF-8 and not empty.
  virtual void split(std::string_view text, std::vector<size_t>& ends) const = 0;
};

// For any pattern in the dialect of oniguruma that tokenizer.json files use. Patterns of known families get a scanner
// of their own (scanner.h), the rest PCRE2 (regex_splitter.h). The error says what PCRE2 does not like.
[[nodiscard]] Result<std::unique_ptr<Splitter>> make_splitter(const std::string& pattern);

// For patterns that cut one after the other, each within the pieces of the one before. Fewer splitters may do the work
// of more patterns.
[[nodiscard]] Result<std::vector<std::unique_ptr<Splitter>>> make_splitters(const std::vector<std::string>& patterns);

}  // namespace gale
