#include "tokenizer/splitter.h"

#include <algorithm>

#include "tokenizer/deepseek_scanner.h"
#include "tokenizer/regex_splitter.h"
#include "tokenizer/scanner.h"

namespace gale {
namespace {

// With line breaks as they are written in a pattern: files have them both ways.
std::string with_escaped_breaks(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Splitter>> make_splitter(const std::string& pattern) {
  const std::string known = with_escaped_breaks(pattern);
  const int max_digits = known == kLlama3Pattern ? 3 : known == kQwenPattern ? 1 : 0;
  if (max_digits == 0) return RegexSplitter::compile(pattern);
  GALE_ASSIGN(CharClassTable classes, CharClassTable::make());
  return std::make_unique<Scanner>(std::move(classes), max_digits);
}

Result<std::vector<std::unique_ptr<Splitter>>> make_splitters(const std::vector<std::string>& patterns) {
  std::vector<std::unique_ptr<Splitter>> splitters;
  const bool is_deepseek =
      std::equal(patterns.begin(), patterns.end(), kDeepSeekPatterns.begin(), kDeepSeekPatterns.end(),
                 [](const std::string& a, std::string_view b) { return with_escaped_breaks(a) == b; });
  if (is_deepseek) {
    GALE_ASSIGN(CharClassTable classes, CharClassTable::make_finer());
    splitters.push_back(std::make_unique<DeepSeekScanner>(std::move(classes)));
    return splitters;
  }
  for (const std::string& pattern : patterns) {
    GALE_ASSIGN(auto splitter, make_splitter(pattern));
    splitters.push_back(std::move(splitter));
  }
  return splitters;
}

}  // namespace gale
