#include "api/openai_chat.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "chat/messages.h"

namespace gale {
namespace {

constexpr std::array<std::string_view, 6> kRoles = {"system", "developer", "user", "assistant", "tool", "function"};

auto refuse(std::string param, std::string_view message) {
  return fail_param(ErrorCode::kInvalidArgument, param, "{}: {}", param, message);
}

Status check_content(const Json& message, const std::string& where) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null() || content->is_string()) return {};
  if (!content->is_array()) return refuse(where + ".content", fmt::format("expected a string, null or a list of parts, got {}", brief(*content)));
  for (size_t i = 0; i < content->size(); ++i) {
    const Json& part = (*content)[i];
    const bool has_type = part.is_object() && part.contains("type") && part["type"].is_string();
    if (!has_type && !part.is_string()) return refuse(fmt::format("{}.content[{}]", where, i), "expected a part with a type");
  }
  return {};
}

Status check_messages(const Json& messages) {
  if (!messages.is_array() || messages.empty()) return refuse("messages", "expected a list of at least one message");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string where = fmt::format("messages[{}]", i);
    const Json& message = messages[i];
    if (!message.is_object()) return refuse(where, fmt::format("expected an object, got {}", brief(message)));
    const auto role = message.find("role");
    if (role == message.end() || !role->is_string() ||
        std::find(kRoles.begin(), kRoles.end(), role->get_ref<const std::string&>()) == kRoles.end())
      return refuse(where + ".role", fmt::format("expected system, developer, user, assistant or tool, got {}",
                                                 role == message.end() ? "nothing" : brief(*role)));
    GALE_TRY(check_content(message, where));
  }
  return {};
}

// Tools as the client sent them, with what may be absent filled in: type means function.
Result<Json> read_tools(const Json& body) {
  const auto tools = body.find("tools");
  if (tools == body.end() || tools->is_null()) return Json(nullptr);
  if (!tools->is_array()) return refuse("tools", fmt::format("expected a list, got {}", brief(*tools)));
  for (size_t i = 0; i < tools->size(); ++i) {
    const std::string where = fmt::format("tools[{}]", i);
    const Json& tool = (*tools)[i];
    if (!tool.is_object()) return refuse(where, fmt::format("expected an object, got {}", brief(tool)));
    if (tool.contains("type") && tool["type"] != "function")
      return fail_param(ErrorCode::kUnimplemented, where + ".type", "{}.type: only tools of type function are supported, got {}", where, brief(tool["type"]));
    const auto function = tool.find("function");
    if (function == tool.end() || !function->is_object()) return refuse(where + ".function", "expected an object with a name");
    const auto name = function->find("name");
    if (name == function->end() || !name->is_string() || name->get_ref<const std::string&>().empty())
      return refuse(where + ".function.name", "expected a non-empty string");
    const auto parameters = function->find("parameters");
    if (parameters != function->end() && !parameters->is_null() && !parameters->is_object())
      return refuse(where + ".function.parameters", "expected a JSON schema object");
  }
  return tools->empty() ? Json(nullptr) : *tools;
}

// auto and none work; required and named calls need a grammar, which this build has not.
Result<bool> read_tool_choice(const Json& body, bool has_tools) {
  const auto choice = body.find("tool_choice");
  if (choice == body.end() || choice->is_null()) return has_tools;
  if (*choice == "none") return false;
  if (*choice == "auto") return has_tools;
  if (*choice == "required" || choice->is_object())
    return fail_param(ErrorCode::kUnimplemented, "tool_choice", "tool_choice: only \"auto\" and \"none\" are supported by this build yet");
  return fail_param(ErrorCode::kInvalidArgument, "tool_choice", "tool_choice: expected auto, none, required or a function, got {}", brief(*choice));
}

// reasoning_effort in the template's terms: none and minimal turn thinking off.
Status apply_reasoning_effort(const Json& body, Json& kwargs) {
  const auto effort = body.find("reasoning_effort");
  if (effort == body.end() || effort->is_null()) return {};
  static constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
  if (!effort->is_string() || std::find(kEfforts.begin(), kEfforts.end(), effort->get_ref<const std::string&>()) == kEfforts.end())
    return refuse("reasoning_effort", fmt::format("expected none, minimal, low, medium, high, xhigh or max, got {}", brief(*effort)));
  if (!kwargs.contains("enable_thinking")) kwargs["enable_thinking"] = *effort != "none" && *effort != "minimal";
  return {};
}

void read_logprobs(RequestReader& reader, const ApiContext& context, GenerateRequest& request) {
  bool wants_logprobs = false;
  reader.boolean("logprobs", wants_logprobs);
  std::optional<int> top;
  reader.integer("top_logprobs", {0, static_cast<double>(context.limits.max_logprobs)}, top);
  if (top && *top > 0 && !wants_logprobs)
    reader.refuse("top_logprobs", ErrorCode::kInvalidArgument, "top_logprobs needs logprobs to be true");
  if (wants_logprobs) request.num_logprobs = top.value_or(0);
  reader.refuse_unless("prompt_logprobs", {Json(0)}, "prompt logprobs are not supported for chat; /v1/completions has them with echo");
}

void refuse_unsupported(RequestReader& reader) {
  reader.refuse_unless("response_format", {Json{{"type", "text"}}}, "only {\"type\": \"text\"} is supported by this build yet");
  reader.refuse_unless("functions", {Json::array()}, "use tools instead");
  reader.refuse_unless("function_call", {Json("none"), Json("auto")}, "use tool_choice instead");
  reader.refuse_unless("audio", {}, "this model has no audio");
  reader.refuse_unless("chat_template", {}, "templates of a request are not trusted");
  reader.refuse_unless("documents", {Json::array()}, "not supported by this build yet");
  reader.refuse_unless("echo", {Json(false)}, "not supported for chat; use continue_final_message");
  reader.refuse_unless("parallel_tool_calls", {Json(true)}, "limiting a turn to one call is not supported by this build yet");
  for (const char* key : {"add_special_tokens", "media_io_kwargs", "mm_processor_kwargs", "separate_reasoning", "stream_reasoning",
                          "reasoning"})
    (void)reader.find(key);
}

}  // namespace

Result<ChatInput> parse_chat_input(const Json& body) {
  ChatInput input;
  const auto messages = body.find("messages");
  if (messages == body.end()) return refuse("messages", "this field is required");
  GALE_TRY(check_messages(*messages));
  GALE_ASSIGN(input.messages, normalise_messages(*messages));
  GALE_ASSIGN(input.tools, read_tools(body));
  input.template_kwargs = Json::object();
  if (const auto kwargs = body.find("chat_template_kwargs"); kwargs != body.end() && !kwargs->is_null()) {
    if (!kwargs->is_object()) return refuse("chat_template_kwargs", fmt::format("expected an object, got {}", brief(*kwargs)));
    input.template_kwargs = *kwargs;
  }
  GALE_TRY(apply_reasoning_effort(body, input.template_kwargs));
  RequestReader reader(body);
  reader.boolean("continue_final_message", input.continue_final_message);
  input.add_generation_prompt = !input.continue_final_message;
  reader.boolean("add_generation_prompt", input.add_generation_prompt);
  if (input.continue_final_message && input.add_generation_prompt)
    reader.refuse("continue_final_message", ErrorCode::kInvalidArgument, "continue_final_message and add_generation_prompt exclude each other");
  GALE_TRY(reader.status());
  return input;
}

Result<ChatRequest> parse_chat_request(const Json& body, const ApiContext& context) {
  if (!body.is_object()) return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object, got {}", brief(body));
  ChatRequest request;
  RequestReader reader(body);
  read_generation_fields(reader, context, request.generate, request.answer);
  reader.integer("max_completion_tokens", {1, static_cast<double>(INT32_MAX)}, request.generate.max_tokens);
  read_logprobs(reader, context, request.generate);
  reader.boolean("include_reasoning", request.include_reasoning);
  refuse_unsupported(reader);
  for (const char* key : {"messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort", "continue_final_message",
                          "add_generation_prompt"})
    (void)reader.find(key);   // read below
  GALE_TRY(finish_reading(reader));
  GALE_ASSIGN(ChatInput input, parse_chat_input(body));
  GALE_ASSIGN(request.generate.parse_tool_calls, read_tool_choice(body, !input.tools.is_null()));
  if (body.contains("tool_choice") && body["tool_choice"] == "none") input.tools = nullptr;   // the model must not see them
  request.generate.prompt = std::move(input);
  request.generate.parse_output = true;
  return request;
}

}  // namespace gale
