#include <atomic>
#include <utility>

#include "api/anthropic_messages.h"
#include "api/chat_body.h"
#include "api/request_reader.h"
#include "base/json_text.h"
#include "base/log.h"

namespace gale {
namespace {

bool is_billing_block(const std::string& text) { return text.starts_with("x-anthropic-billing-header"); }

// Said once: whoever looks for the block in a rendered prompt finds out where it went.
void note_billing_block() {
  static std::atomic<bool> is_noted = false;
  if (!is_noted.exchange(true))
    log_info("a client's billing line is left out of system prompts, so that cached prefixes stay valid");
}

Result<std::string> system_text(const Json& system, const MessagesOptions& options) {
  if (!system.is_array()) return text_of_parts(system, "system", "\n");
  Json kept = Json::array();
  for (const Json& block : system) {
    const bool is_dropped = options.drops_billing_block && is_billing_block(text_field(block, "text"));
    if (is_dropped) note_billing_block();
    else kept.push_back(block);
  }
  return text_of_parts(kept, "system", "\n");
}

Result<Json> image_part(const Json& block, const std::string& where) {
  const Json& source = field_of(block, "source");
  std::string url = text_field(source, "url");
  if (text_field(source, "type") == "base64") {
    url = "data:" + text_field(source, "media_type") + ";base64," + text_field(source, "data");
  }
  if (url.empty()) return refuse_at(where + ".source", "expected a source of type base64 or url");
  return Json{{"type", "image_url"}, {"image_url", {{"url", std::move(url)}}}};
}

Result<Json> document_part(const Json& block, const std::string& where) {
  const Json& source = field_of(block, "source");
  const std::string type = text_field(source, "type");
  if (type == "text") return Json{{"type", "text"}, {"text", text_field(source, "data")}};
  if (type == "content") {
    GALE_ASSIGN(std::string text, text_of_parts(field_of(source, "content"), where + ".source.content", "\n"));
    return Json{{"type", "text"}, {"text", std::move(text)}};
  }
  return refuse_at(where + ".source", "only documents of type text are supported, got " + brief(Json(type)));
}

// Turns one message's blocks into chat messages: a turn of text and calls, and a tool message for each result.
class BlockReader {
 public:
  BlockReader(std::string role, Json& messages) : role_(std::move(role)), messages_(messages) {}

  Status add(const Json& block, const std::string& where) {
    const std::string type = text_field(block, "type");
    if (type == "text") {
      if (!field_of(block, "text").is_string()) return refuse_at(where + ".text", "expected a string");
      parts_.push_back({{"type", "text"}, {"text", block["text"]}});
    } else if (type == "thinking") {
      parts_.push_back({{"type", "thinking"}, {"thinking", text_field(block, "thinking")}});
    } else if (type == "redacted_thinking") {
      return {};   // nobody can read it but who wrote it
    } else if (type == "image") {
      GALE_ASSIGN(Json part, image_part(block, where));
      parts_.push_back(std::move(part));
    } else if (type == "document") {
      GALE_ASSIGN(Json part, document_part(block, where));
      parts_.push_back(std::move(part));
    } else if (type == "tool_use") {
      return add_call(block, where);
    } else if (type == "tool_result") {
      return add_result(block, where);
    } else {
      return refuse_at(where + ".type",
                       "content blocks of type " + brief(field_of(block, "type")) + " are not supported");
    }
    return {};
  }

  void flush() {
    if (parts_.empty() && calls_.empty()) return;
    Json message{{"role", role_}, {"content", parts_.empty() ? Json(nullptr) : std::exchange(parts_, Json::array())}};
    if (!calls_.empty()) message["tool_calls"] = std::exchange(calls_, Json::array());
    messages_.push_back(std::move(message));
  }

 private:
  Status add_call(const Json& block, const std::string& where) {
    if (!field_of(block, "name").is_string()) return refuse_at(where + ".name", "expected a string");
    const Json& input = field_of(block, "input");
    if (!input.is_object() && !input.is_null())
      return refuse_at(where + ".input", "expected an object, got " + brief(input));
    calls_.push_back(
        tool_call_json(field_of(block, "id"), block["name"], dump_json(input.is_null() ? Json::object() : input)));
    return {};
  }
  Status add_result(const Json& block, const std::string& where) {
    flush();
    Json content = field_of(block, "content");
    if (content.is_array()) {
      for (size_t i = 0; i < content.size(); ++i) {
        if (text_field(content[i], "type") != "image") continue;
        GALE_ASSIGN(content[i], image_part(content[i], fmt::format("{}.content[{}]", where, i)));
      }
    } else if (!content.is_string() && !content.is_null()) {
      return refuse_at(where + ".content", "expected a string or a list of blocks, got " + brief(content));
    }
    messages_.push_back({{"role", "tool"}, {"tool_call_id", field_of(block, "tool_use_id")},
                         {"content", content.is_null() ? Json("") : std::move(content)}});
    return {};
  }

  const std::string role_;
  Json& messages_;
  Json parts_ = Json::array();
  Json calls_ = Json::array();
};

Status add_message(const Json& message, const std::string& where, Json& messages) {
  const std::string role = text_field(message, "role");
  if (role != "user" && role != "assistant" && role != "system")
    return refuse_at(where + ".role", "expected user or assistant, got " + brief(field_of(message, "role")));
  const Json& content = field_of(message, "content");
  if (content.is_string()) {
    messages.push_back({{"role", role}, {"content", content}});
    return {};
  }
  if (!content.is_array())
    return refuse_at(where + ".content", "expected a string or a list of blocks, got " + brief(content));
  BlockReader reader(role, messages);
  for (size_t i = 0; i < content.size(); ++i) GALE_TRY(reader.add(content[i], fmt::format("{}.content[{}]", where, i)));
  reader.flush();
  return {};
}

// Tools that Anthropic would run itself have a type of their own; there is nobody here to run them.
Result<Json> chat_tools(const Json& tools) {
  if (!tools.is_array()) return refuse_at("tools", "expected a list, got " + brief(tools));
  Json out = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string type = text_field(tools[i], "type");
    if (!type.empty() && type != "custom") {
      log_debug("tool {} of type {} is skipped", i, type.substr(0, 60));
      continue;
    }
    if (text_field(tools[i], "name").empty())
      return refuse_at(fmt::format("tools[{}].name", i), "expected a non-empty string");
    out.push_back(
        function_tool_json(tools[i]["name"], field_of(tools[i], "description"), field_of(tools[i], "input_schema")));
  }
  return out;
}

Status apply_tool_choice(const Json& choice, Json& chat) {
  if (choice.is_null()) return {};
  const std::string type = text_field(choice, "type");
  if (type == "auto" || type == "none") chat["tool_choice"] = type;
  else if (type == "any") chat["tool_choice"] = "required";
  else if (type == "tool")
    chat["tool_choice"] = {{"type", "function"}, {"function", {{"name", field_of(choice, "name")}}}};
  else return refuse_at("tool_choice", "expected an object of type auto, any, tool or none");
  if (field_of(choice, "disable_parallel_tool_use") == true) chat["parallel_tool_calls"] = false;
  return {};
}

Status apply_thinking(const Json& body, Json& chat) {
  const Json& thinking = field_of(body, "thinking");
  const std::string type = thinking.is_null() ? "disabled" : text_field(thinking, "type");
  if (type != "enabled" && type != "disabled" && type != "adaptive")
    return refuse_at("thinking", "expected an object of type enabled, adaptive or disabled");
  const Json& budget = field_of(thinking, "budget_tokens");
  if (!budget.is_null() && (!budget.is_number_integer() || budget.get<int64_t>() < 1))
    return refuse_at("thinking.budget_tokens", "expected an integer of at least 1, got " + brief(budget));
  chat["chat_template_kwargs"] = {{"enable_thinking", type != "disabled"}};
  if (!budget.is_null() && type != "disabled") chat["thinking_token_budget"] = budget;
  const Json& kwargs = field_of(body, "chat_template_kwargs");
  if (kwargs.is_object()) chat["chat_template_kwargs"].update(kwargs);
  else if (!kwargs.is_null()) return refuse_at("chat_template_kwargs", "expected an object, got " + brief(kwargs));
  return {};
}

Status apply_output_config(const Json& body, Json& chat) {
  const Json& config = field_of(body, "output_config");
  const Json& format =
      field_of(config, "format").is_null() ? field_of(body, "output_format") : field_of(config, "format");
  if (!config.is_null() && !config.is_object())
    return refuse_at("output_config", "expected an object, got " + brief(config));
  if (!format.is_null()) {
    if (text_field(format, "type") != "json_schema")
      return refuse_at("output_config.format", "expected an object of type json_schema");
    chat["response_format"] = {{"type", "json_schema"},
                               {"json_schema", {{"name", "answer"}, {"schema", field_of(format, "schema")}}}};
  }
  copy_as(config, "effort", "reasoning_effort", chat);
  return {};
}

// Everything that makes the prompt.
Result<Json> chat_body_of(const Json& body, const MessagesOptions& options) {
  if (!body.is_object())
    return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object, got {}", brief(body));
  Json chat = Json::object();
  Json messages = Json::array();
  GALE_ASSIGN(std::string system, system_text(field_of(body, "system"), options));
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", std::move(system)}});
  const Json& given = field_of(body, "messages");
  if (!given.is_array() || given.empty()) return refuse_at("messages", "expected a list of at least one message");
  for (size_t i = 0; i < given.size(); ++i) GALE_TRY(add_message(given[i], fmt::format("messages[{}]", i), messages));
  if (text_field(given.back(), "role") == "assistant")
    chat["continue_final_message"] = true;  // a prefilled answer goes on
  chat["messages"] = std::move(messages);
  if (const Json& tools = field_of(body, "tools"); !tools.is_null()) {
    GALE_ASSIGN(chat["tools"], chat_tools(tools));
  }
  GALE_TRY(apply_tool_choice(field_of(body, "tool_choice"), chat));
  GALE_TRY(apply_thinking(body, chat));
  GALE_TRY(apply_output_config(body, chat));
  copy_fields(body, {"model"}, chat);
  return chat;
}

}  // namespace

Result<ChatRequest> parse_messages_request(const Json& body, const ApiContext& context,
                                           const MessagesOptions& options) {
  GALE_ASSIGN(Json chat, chat_body_of(body, options));
  if (field_of(body, "max_tokens").is_null()) return refuse_at("max_tokens", "this field is required");
  copy_fields(body,
              {"max_tokens", "temperature", "top_p", "top_k", "stream", "seed", "min_p", "repetition_penalty",
               "cache_salt", "priority", "ignore_eos", "min_tokens"},
              chat);
  copy_as(body, "stop_sequences", "stop", chat);
  Result<ChatRequest> request = parse_chat_request(chat, context);
  if (!request) rename_param(request.error(), "stop", "stop_sequences");
  return request;
}

Result<CountTokensRequest> parse_count_tokens_request(const Json& body, const MessagesOptions& options) {
  GALE_ASSIGN(const Json chat, chat_body_of(body, options));
  CountTokensRequest request;
  RequestReader reader(chat);
  reader.string("model", request.model);
  GALE_TRY(reader.status());
  GALE_ASSIGN(request.prompt, parse_chat_input(chat));
  if (text_of(field_of(chat, "tool_choice")) == "none") request.prompt.tools = nullptr;
  return request;
}

}  // namespace gale
