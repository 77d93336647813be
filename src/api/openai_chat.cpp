#include "api/openai_chat.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "api/thinking_fields.h"
#include "api/tool_fields.h"
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
  if (!content->is_array())
    return refuse(where + ".content",
                  fmt::format("expected a string, null or a list of parts, got {}", brief(*content)));
  for (size_t i = 0; i < content->size(); ++i) {
    const Json& part = (*content)[i];
    const bool has_type = part.is_object() && part.contains("type") && part["type"].is_string();
    if (!has_type && !part.is_string())
      return refuse(fmt::format("{}.content[{}]", where, i), "expected a part with a type");
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

// What the fields about thinking mean for the template, and how long it may last.
Status read_thinking(const Json& body, Json& kwargs) {
  GALE_ASSIGN(const ThinkingFields fields, parse_thinking(body));
  if (fields.is_on && !kwargs.contains("enable_thinking")) kwargs["enable_thinking"] = *fields.is_on;
  return {};
}

void read_logprobs(RequestReader& reader, const ApiContext& context, GenerateRequest& request,
                   AnswerOptions& answer) {
  bool wants_logprobs = false;
  reader.boolean("logprobs", wants_logprobs);
  std::optional<int> top;
  reader.integer("top_logprobs", {0, static_cast<double>(context.limits.max_logprobs)}, top);
  if (top && *top > 0 && !wants_logprobs)
    reader.refuse("top_logprobs", ErrorCode::kInvalidArgument, "top_logprobs needs logprobs to be true");
  if (wants_logprobs) request.num_logprobs = top.value_or(0);
  read_prompt_logprobs(reader, context, request, answer);
}

void refuse_unsupported(RequestReader& reader) {
  reader.refuse_unless("functions", {Json::array()}, "use tools instead");
  reader.refuse_unless("function_call", {Json("none"), Json("auto")}, "use tool_choice instead");
  reader.refuse_unless("audio", {}, "this model has no audio");
  reader.refuse_unless("chat_template", {}, "templates of a request are not trusted");
  reader.refuse_unless("echo", {Json(false)}, "not supported for chat; use continue_final_message");
  reader.refuse_unless("separate_reasoning", {Json(true)},
                       "thinking is always told apart from the answer; include_reasoning leaves it out");
  for (const char* key : {"add_special_tokens", "media_io_kwargs", "mm_processor_kwargs", "stream_reasoning"})
    (void)reader.find(key);
}

}  // namespace

Result<ChatInput> parse_chat_input(const Json& body) {
  const auto messages = body.find("messages");
  if (messages == body.end()) return refuse("messages", "this field is required");
  GALE_TRY(check_messages(*messages));
  GALE_ASSIGN(Json normalised, normalise_messages(*messages));
  GALE_ASSIGN(ChatInput input, parse_chat_setting(body));
  input.messages = std::move(normalised);
  return input;
}

Result<ChatInput> parse_chat_setting(const Json& body) {
  ChatInput input;
  GALE_ASSIGN(input.tools, read_tools(body));
  if (const auto documents = body.find("documents"); documents != body.end() && !documents->is_null()) {
    if (!documents->is_array()) return refuse("documents", fmt::format("expected a list, got {}", brief(*documents)));
    input.documents = *documents;
  }
  input.template_kwargs = Json::object();
  if (const auto kwargs = body.find("chat_template_kwargs"); kwargs != body.end() && !kwargs->is_null()) {
    if (!kwargs->is_object())
      return refuse("chat_template_kwargs", fmt::format("expected an object, got {}", brief(*kwargs)));
    input.template_kwargs = *kwargs;
  }
  GALE_TRY(read_thinking(body, input.template_kwargs));
  RequestReader reader(body);
  reader.boolean("continue_final_message", input.continue_final_message);
  input.add_generation_prompt = !input.continue_final_message;
  reader.boolean("add_generation_prompt", input.add_generation_prompt);
  if (input.continue_final_message && input.add_generation_prompt)
    reader.refuse("continue_final_message", ErrorCode::kInvalidArgument,
                  "continue_final_message and add_generation_prompt exclude each other");
  GALE_TRY(reader.status());
  return input;
}

Result<ChatRequest> parse_chat_request(const Json& body, const ApiContext& context) {
  if (!body.is_object())
    return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object, got {}", brief(body));
  ChatRequest request;
  RequestReader reader(body);
  read_generation_fields(reader, context, request.generate, request.answer);
  reader.integer("max_completion_tokens", {1, static_cast<double>(INT32_MAX)}, request.generate.max_tokens);
  read_logprobs(reader, context, request.generate, request.answer);
  reader.boolean("include_reasoning", request.include_reasoning);
  refuse_unsupported(reader);
  for (const char* key : {"messages", "tools", "documents", "tool_choice", "parallel_tool_calls",
                          "chat_template_kwargs", "reasoning_effort", "reasoning", "thinking", "thinking_token_budget",
                          "continue_final_message", "add_generation_prompt"})
    (void)reader.find(key);   // read below
  GALE_TRY(finish_reading(reader));
  GALE_ASSIGN(ChatInput input, parse_chat_input(body));
  GALE_TRY(read_tool_choice(body, input.tools, request.generate.rules));
  GALE_ASSIGN(const ThinkingFields thinking, parse_thinking(body));
  request.generate.thinking_budget = thinking.budget;
  request.generate.prompt = std::move(input);
  request.generate.parse_output = true;
  return request;
}

}  // namespace gale
