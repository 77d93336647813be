#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace gale {

// How the text of an argument becomes JSON.
enum class ArgumentType {
  kString,           // verbatim, as a string
  kNullableString,   // the same, but null and None are null
  kOther,            // JSON, else a Python literal, else a string
};

// What the schemas of the tools say about one call's arguments.
class ArgumentTypes {
 public:
  ArgumentTypes() = default;
  explicit ArgumentTypes(const Json& tools);

  [[nodiscard]] bool has_tool(const std::string& name) const { return types_.contains(name); }

  // Unknown tools and arguments, and schemas that do not say "string": kOther.
  [[nodiscard]] ArgumentType type_of(const std::string& tool, const std::string& argument) const;

 private:
  std::map<std::string, std::map<std::string, ArgumentType, std::less<>>> types_;
};

// The value of an argument of type kOther, as JSON text that parse_json reads.
[[nodiscard]] std::string argument_json(std::string_view text);

// A Python literal (numbers, strings, True, False, None, lists, tuples, dicts with string keys) as JSON text; nothing
// if the text is anything else.
[[nodiscard]] std::optional<std::string> python_literal_json(std::string_view text);

}  // namespace gale
