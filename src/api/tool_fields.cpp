#include "api/tool_fields.h"

#include <algorithm>
#include <string>
#include <vector>

#include "api/request_reader.h"
#include "base/json_text.h"

namespace gale {
namespace {

auto refuse(std::string param, std::string_view message) {
  return fail_param(ErrorCode::kInvalidArgument, param, "{}: {}", param, message);
}

bool is_named(const Json& tool, const std::string& name) { return tool["function"]["name"] == name; }

// {"type": "function", "function": {"name": …}}; the name alone beside the type, too, as /v1/responses has it.
Result<std::string> function_name(const Json& choice, const std::string& where) {
  const Json holder = choice.value("function", choice);
  const Json name = holder.is_object() ? holder.value("name", Json()) : Json();
  if (!name.is_string() || name.get_ref<const std::string&>().empty())
    return refuse(where + ".function.name", "expected the name of a tool");
  return name.get<std::string>();
}

Status keep_only(Json& tools, const std::vector<std::string>& names, const std::string& where) {
  Json kept = Json::array();
  for (const std::string& name : names) {
    const auto found = std::find_if(tools.begin(), tools.end(), [&](const Json& tool) { return is_named(tool, name); });
    if (found == tools.end())
      return refuse(where, fmt::format("there is no tool named {} in tools", brief(Json(name))));
    kept.push_back(*found);
  }
  tools = std::move(kept);
  return {};
}

// {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required", "tools": […]}}
Status read_allowed_tools(const Json& choice, Json& tools, AnswerRules& rules) {
  const Json allowed = choice.value("allowed_tools", choice);
  const Json mode = allowed.is_object() ? allowed.value("mode", Json("auto")) : Json();
  const Json list = allowed.is_object() ? allowed.value("tools", Json()) : Json();
  const std::string where = "tool_choice.allowed_tools";
  if (text_of(mode) != "auto" && text_of(mode) != "required")
    return refuse(where + ".mode", fmt::format("expected auto or required, got {}", brief(mode)));
  if (!list.is_array() || list.empty()) return refuse(where + ".tools", "expected a list of at least one tool");
  std::vector<std::string> names;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = fmt::format("{}.tools[{}]", where, i);
    if (!list[i].is_object()) return refuse(place, "expected an object");
    GALE_ASSIGN(std::string name, function_name(list[i], place));
    names.push_back(std::move(name));
  }
  rules.calls = text_of(mode) == "required" ? CallRule::kRequired : CallRule::kFree;
  return keep_only(tools, names, where + ".tools");
}

Status read_choice_object(const Json& choice, Json& tools, AnswerRules& rules) {
  const Json type = choice.value("type", Json("function"));
  if (text_of(type) == "allowed_tools") return read_allowed_tools(choice, tools, rules);
  if (text_of(type) != "function") {
    return fail_param(ErrorCode::kUnimplemented, "tool_choice.type",
                      "tool_choice.type: only function and allowed_tools are supported, got {}", brief(type));
  }
  GALE_ASSIGN(rules.only_tool, function_name(choice, "tool_choice"));
  const bool is_there =
      std::any_of(tools.begin(), tools.end(), [&](const Json& tool) { return is_named(tool, rules.only_tool); });
  if (!is_there)
    return refuse("tool_choice.function.name",
                  fmt::format("there is no tool named {} in tools", brief(Json(rules.only_tool))));
  rules.calls = CallRule::kRequired;
  rules.single_call = true;
  return {};
}

}  // namespace

Result<Json> read_tools(const Json& body) {
  const auto tools = body.find("tools");
  if (tools == body.end() || tools->is_null()) return Json(nullptr);
  if (!tools->is_array()) return refuse("tools", fmt::format("expected a list, got {}", brief(*tools)));
  for (size_t i = 0; i < tools->size(); ++i) {
    const std::string where = fmt::format("tools[{}]", i);
    const Json& tool = (*tools)[i];
    if (!tool.is_object()) return refuse(where, fmt::format("expected an object, got {}", brief(tool)));
    if (tool.contains("type") && text_of(tool["type"]) != "function")
      return fail_param(ErrorCode::kUnimplemented, where + ".type",
                        "{}.type: only tools of type function are supported, got {}", where, brief(tool["type"]));
    const auto function = tool.find("function");
    if (function == tool.end() || !function->is_object())
      return refuse(where + ".function", "expected an object with a name");
    const auto name = function->find("name");
    if (name == function->end() || !name->is_string() || name->get_ref<const std::string&>().empty())
      return refuse(where + ".function.name", "expected a non-empty string");
    const auto parameters = function->find("parameters");
    if (parameters != function->end() && !parameters->is_null() && !parameters->is_object())
      return refuse(where + ".function.parameters", "expected a JSON schema object");
  }
  return tools->empty() ? Json(nullptr) : *tools;
}

Status read_tool_choice(const Json& body, Json& tools, AnswerRules& rules) {
  const auto found = body.find("tool_choice");
  const Json choice = found == body.end() ? Json() : *found;
  if (!choice.is_null() && !choice.is_string() && !choice.is_object())
    return refuse("tool_choice", fmt::format("expected auto, none, required or a function, got {}", brief(choice)));
  const std::string_view word = text_of(choice);
  if (choice.is_string() && word != "auto" && word != "none" && word != "required")
    return refuse("tool_choice", fmt::format("expected auto, none, required or a function, got {}", brief(choice)));
  RequestReader reader(body);
  bool parallel = true;
  reader.boolean("parallel_tool_calls", parallel);
  GALE_TRY(reader.status());
  if (word == "none") tools = nullptr;   // the model must not see them
  if (tools.is_null()) {
    if (word == "required" || choice.is_object()) return refuse("tool_choice", "there are no tools to choose from");
    return {};
  }
  rules.calls = word == "required" ? CallRule::kRequired : CallRule::kFree;
  rules.single_call = !parallel;
  if (choice.is_object()) return read_choice_object(choice, tools, rules);
  return {};
}

}  // namespace gale
