#pragma once

#include <jinja/value.h>

#include <string>

#include "base/json.h"

namespace gale {

// Between JSON and the values of the Jinja engine, printing as Python's jinja2 does.
// Text is marked by where it came from. The engine has one mark, "input", which derived strings keep only if all of
// their parts have it. We use it for the opposite, text of the template, so that what gets lost is never the caution:
// unmarked text is plain.

// Strings, keys included, are unmarked.
[[nodiscard]] jinja::value template_value(const Json& json);

// A string with the mark of template text.
[[nodiscard]] jinja::value template_text(const std::string& text);

// What {{ value }} prints: None for null, nothing for undefined, Python's notation for lists and dicts.
[[nodiscard]] jinja::value printed_value(const jinja::value& value);

}  // namespace gale
