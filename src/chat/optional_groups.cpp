#include "chat/optional_groups.h"

#include <algorithm>

namespace gale {
namespace {

// What stands at `at` as one piece: a character, or an escaped one.
size_t piece_length(std::string_view text, size_t at) {
  return text[at] == '\\' && at + 1 < text.size() ? 2 : 1;
}

// From a quote, bracket or # to what ends it.
size_t closed_length(std::string_view text, size_t at, char end) {
  size_t length = 1;
  while (at + length < text.size() && text[at + length] != end) length += piece_length(text, at + length);
  return std::min(length + 1, text.size() - at);
}

// Behind a closing parenthesis: an option that is not lazy.
bool is_option(std::string_view rest) { return rest.starts_with('?') && !rest.substr(1).starts_with('?'); }

}  // namespace

std::string with_counted_options(std::string_view pattern) {
  std::string out;
  for (size_t at = 0; at < pattern.size();) {
    const bool is_group = pattern[at] == ')' && is_option(pattern.substr(at + 1));
    const size_t length = pattern[at] == '[' ? closed_length(pattern, at, ']') : piece_length(pattern, at);
    out += pattern.substr(at, length);
    if (is_group) out += "{0,1}";
    at += length + (is_group ? 1 : 0);
  }
  return out;
}

std::string grammar_with_counted_options(std::string_view grammar) {
  std::string out;
  for (size_t at = 0; at < grammar.size();) {
    const char c = grammar[at];
    size_t length = 1;
    if (c == '"') length = closed_length(grammar, at, '"');
    if (c == '[') length = closed_length(grammar, at, ']');
    if (c == '#') length = closed_length(grammar, at, '\n');
    out += grammar.substr(at, length);
    at += length;
    if (c != ')') continue;
    const size_t next = std::min(grammar.find_first_not_of(" \t\r\n", at), grammar.size());
    if (!is_option(grammar.substr(next))) continue;
    out += "{0,1}";
    at = next + 1;
  }
  return out;
}

}  // namespace gale
