#include "chat/messages.h"

#include <string>
#include <string_view>
#include <utility>

namespace gale {
namespace {

template <class... Args>
tl::unexpected<Error> wrong(const std::string& where, fmt::format_string<Args...> format, Args&&... args) {
  return fail_param(ErrorCode::kInvalidArgument, where, "{}: {}", where,
                    fmt::format(format, std::forward<Args>(args)...));
}

// The string at `key`, else an empty one.
std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

struct Texts {
  std::string content;
  std::string reasoning;
};

Status add_part(const Json& part, const std::string& where, Texts& texts) {
  if (part.is_string()) {
    texts.content += part.get<std::string>();
    return {};
  }
  if (!part.is_object()) return wrong(where, "expected a content part");
  const std::string type = text_at(part, "type");
  if (type == "text" || type == "input_text" || type == "output_text") {
    texts.content += text_at(part, "text");
  } else if (type == "refusal") {
    texts.content += text_at(part, "refusal");
  } else if (type == "thinking" || type == "reasoning") {
    texts.reasoning += text_at(part, part.contains("text") ? "text" : type.c_str());
  } else {
    return wrong(where, "parts of type \"{}\" are not supported by this model here; only text is", type);
  }
  return {};
}

Result<Texts> texts_of(const Json& content, const std::string& where) {
  Texts texts;
  if (content.is_string()) {
    texts.content = content.get<std::string>();
  } else if (content.is_array()) {
    for (size_t i = 0; i < content.size(); ++i) GALE_TRY(add_part(content[i], fmt::format("{}[{}]", where, i), texts));
  } else if (!content.is_null()) {
    return wrong(where, "expected a string or a list of parts");
  }
  return texts;
}

// The call's arguments as an object.
Result<Json> arguments_of(const Json& arguments, const std::string& where) {
  if (arguments.is_object()) return arguments;
  if (arguments.is_null()) return Json::object();
  if (!arguments.is_string()) return wrong(where, "expected a JSON object as a string");
  const std::string& text = arguments.get_ref<const std::string&>();
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Json::object();
  auto parsed = parse_json(text);
  if (!parsed) return wrong(where, "{}", parsed.error().message);
  if (!parsed->is_object()) return wrong(where, "expected a JSON object, got {}", parsed->type_name());
  return parsed;
}

Status normalise_calls(Json& calls, const std::string& where) {
  if (!calls.is_array()) return wrong(where, "expected a list");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string call_where = fmt::format("{}[{}].function", where, i);
    if (!calls[i].is_object() || !calls[i].contains("function") || !calls[i]["function"].is_object())
      return wrong(call_where, "expected an object");
    Json& function = calls[i]["function"];
    const Json given = function.contains("arguments") ? function["arguments"] : Json();
    GALE_ASSIGN(function["arguments"], arguments_of(given, call_where + ".arguments"));
  }
  return {};
}

Json without_nulls(const Json& object) {
  Json out = Json::object();
  for (const auto& [key, value] : object.items())
    if (!value.is_null()) out[key] = value;
  return out;
}

Result<Json> normalise_message(const Json& given, const std::string& where) {
  if (!given.is_object()) return wrong(where, "expected an object");
  Json message = without_nulls(given);
  const std::string role = text_at(message, "role");
  if (role == "developer") message["role"] = "system";
  if (role == "function") message["role"] = "tool";
  GALE_ASSIGN(Texts texts, texts_of(message.contains("content") ? message["content"] : Json(), where + ".content"));
  if (texts.content.empty()) texts.content = text_at(message, "refusal");
  message["content"] = std::move(texts.content);
  if (!message.contains("reasoning_content")) {
    if (texts.reasoning.empty()) texts.reasoning = text_at(message, "reasoning");
    if (!texts.reasoning.empty()) message["reasoning_content"] = std::move(texts.reasoning);
  }
  if (message.contains("tool_calls")) GALE_TRY(normalise_calls(message["tool_calls"], where + ".tool_calls"));
  return message;
}

}  // namespace

Result<Json> normalise_messages(const Json& messages) {
  if (!messages.is_array()) return wrong("messages", "expected a list");
  Json out = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    GALE_ASSIGN(Json message, normalise_message(messages[i], fmt::format("messages[{}]", i)));
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace gale
