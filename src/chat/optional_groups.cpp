#include "chat/optional_groups.h"

namespace gale {

std::string with_counted_options(std::string_view pattern) {
  std::string out;
  bool is_in_class = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    out += c;
    if (c == '\\' && at + 1 < pattern.size()) {
      out += pattern[++at];
      continue;
    }
    if (c == '[') is_in_class = true;
    if (c == ']') is_in_class = false;
    const bool is_option = c == ')' && !is_in_class && pattern.substr(at + 1).starts_with('?');
    if (!is_option || pattern.substr(at + 2).starts_with('?')) continue;
    out += "{0,1}";
    ++at;
  }
  return out;
}

}  // namespace gale
