#pragma once

#include <string>
#include <string_view>

namespace gale {

// A pattern with (…)? as (…){0,1}: of an optional group that ends with a repetition, xgrammar 0.2.8 leaves out what
// stands before the repetition, so that a(xb+)?c would take abbc.
[[nodiscard]] std::string with_counted_options(std::string_view pattern);

// The same of a grammar in EBNF, where text stands in quotes, comments begin with # and blanks mean nothing.
[[nodiscard]] std::string grammar_with_counted_options(std::string_view grammar);

}  // namespace gale
