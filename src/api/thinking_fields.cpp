#include "api/thinking_fields.h"

#include <climits>
#include <string>

#include "api/request_reader.h"
#include "base/json_text.h"

namespace gale {
namespace {

constexpr int kLowBudget = 1024;
constexpr int kMediumBudget = 8192;

auto refuse(const std::string& param, std::string_view message) {
  return fail_param(ErrorCode::kInvalidArgument, param, "{}: {}", param, message);
}

Status apply_effort(const Json& effort, const std::string& where, ThinkingFields& fields) {
  if (effort.is_null()) return {};
  const std::string_view level = text_of(effort);
  if (level == "none" || level == "minimal") {
    fields.is_on = false;
  } else if (level == "low" || level == "medium") {
    fields.is_on = true;
    fields.budget = level == "low" ? kLowBudget : kMediumBudget;
  } else if (level == "high" || level == "xhigh" || level == "max") {
    fields.is_on = true;
  } else {
    return refuse(where, fmt::format("expected none, minimal, low, medium, high, xhigh or max, got {}", brief(effort)));
  }
  return {};
}

Result<Json> object_at(const Json& body, const std::string& key) {
  const Json value = body.value(key, Json());
  if (value.is_null()) return Json::object();
  if (!value.is_object()) return refuse(key, fmt::format("expected an object, got {}", brief(value)));
  return value;
}

}  // namespace

Result<ThinkingFields> parse_thinking(const Json& body) {
  ThinkingFields fields;
  GALE_ASSIGN(const Json reasoning, object_at(body, "reasoning"));
  GALE_TRY(apply_effort(reasoning.value("effort", Json()), "reasoning.effort", fields));
  const Json enabled = reasoning.value("enabled", Json());
  if (!enabled.is_null() && !enabled.is_boolean())
    return refuse("reasoning.enabled", fmt::format("expected true or false, got {}", brief(enabled)));
  if (enabled.is_boolean()) fields.is_on = enabled.get<bool>();
  GALE_TRY(apply_effort(body.value("reasoning_effort", Json()), "reasoning_effort", fields));
  GALE_ASSIGN(const Json thinking, object_at(body, "thinking"));
  const Json type = thinking.value("type", Json());
  const std::string_view word = text_of(type);
  if (!type.is_null() && word != "enabled" && word != "disabled" && word != "adaptive")
    return refuse("thinking.type", fmt::format("expected enabled or disabled, got {}", brief(type)));
  if (!type.is_null()) fields.is_on = word != "disabled";
  RequestReader reader(body);
  std::optional<int> budget;
  reader.integer("thinking_token_budget", {-1, INT_MAX}, budget);
  GALE_TRY(reader.status());
  if (budget) fields.budget = *budget < 0 ? std::nullopt : budget;
  return fields;
}

}  // namespace gale
