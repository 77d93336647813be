#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace gale {

// What a request body may hold, for people and for /openapi.json. A test holds this together with what the parsers
// read.
struct FieldDoc {
  std::string_view name;
  std::string_view schema;      // JSON
  std::string_view text = "";
};

struct ExampleDoc {
  std::string_view name;
  std::string_view body;        // JSON
};

struct BodyDoc {
  std::string_view name;        // "ChatCompletionRequest"
  std::vector<std::string_view> required;
  std::vector<std::span<const FieldDoc>> groups;
  std::vector<ExampleDoc> examples = {};   // /docs offers them to be tried
};
[[nodiscard]] const std::vector<BodyDoc>& body_docs();

}  // namespace gale
