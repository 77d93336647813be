#include "tokenizer/splitter.h"

#include "tokenizer/regex_splitter.h"
#include "tokenizer/scanner.h"

namespace gale {

Result<std::unique_ptr<Splitter>> make_splitter(const std::string& pattern) {
  const int max_digits = pattern == kLlama3Pattern ? 3 : pattern == kQwenPattern ? 1 : 0;
  if (max_digits == 0) return RegexSplitter::compile(pattern);
  GALE_ASSIGN(CharClassTable classes, CharClassTable::make());
  return std::make_unique<Scanner>(std::move(classes), max_digits);
}

}  // namespace gale
