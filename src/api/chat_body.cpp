#include "api/chat_body.h"

#include <utility>

#include "api/request_reader.h"

namespace gale {

std::string text_field(const Json& object, const char* key) {
  const Json& value = field_of(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

const Json& field_of(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

void copy_fields(const Json& from, std::initializer_list<const char*> keys, Json& to) {
  for (const char* key : keys) copy_as(from, key, key, to);
}

void copy_as(const Json& from, const char* key, const char* name, Json& to) {
  if (const Json& value = field_of(from, key); !value.is_null()) to[name] = value;
}

void rename_param(Error& error, std::string_view from, std::string_view to) {
  if (error.param != from) return;
  error.param = to;
  if (error.message.starts_with(from)) error.message.replace(0, from.size(), to);
}

tl::unexpected<Error> refuse_at(std::string where, std::string_view message) {
  return fail_param(ErrorCode::kInvalidArgument, where, "{}: {}", where, message);
}

Json function_tool_json(Json name, Json description, Json parameters) {
  Json function{{"name", std::move(name)}};
  if (!description.is_null()) function["description"] = std::move(description);
  if (!parameters.is_null()) function["parameters"] = std::move(parameters);
  return {{"type", "function"}, {"function", std::move(function)}};
}

Json tool_call_json(Json id, Json name, std::string arguments) {
  return {{"id", std::move(id)},
          {"type", "function"},
          {"function", {{"name", std::move(name)}, {"arguments", std::move(arguments)}}}};
}

Result<std::string> text_of_parts(const Json& content, const std::string& where, std::string_view separator) {
  if (content.is_null()) return std::string();
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return refuse_at(where, "expected a string or a list of parts, got " + brief(content));
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const Json& part = field_of(content[i], "text");
    if (!part.is_string()) return refuse_at(fmt::format("{}[{}]", where, i), "expected a part with text");
    if (i > 0) text += separator;
    text += part.get_ref<const std::string&>();
  }
  return text;
}

}  // namespace gale
