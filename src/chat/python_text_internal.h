#pragma once

#include <jinja/value.h>

#include <string>
#include <string_view>

namespace gale {

// Values written as Python writes them.

// repr of a float: 1.0, 1e+16, 0.1, nan.
[[nodiscard]] std::string python_float(double value);

// repr of any value: 'text', [1, None], {'a': True}.
[[nodiscard]] std::string python_repr(const jinja::value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  int indent = -1;                       // < 0: one line
  std::string item_separator = ", ";     // with an indent, transformers' templates get "," and line breaks
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// json.dumps.
[[nodiscard]] std::string python_json(const jinja::value& value, const JsonStyle& style);

}  // namespace gale
