#include <algorithm>
#include <array>
#include <utility>

#include "api/chat_body.h"
#include "api/openai_responses.h"
#include "api/request_reader.h"
#include "base/log.h"

namespace gale {
namespace {

// What other services did on their own side; a conversation that moves here from one of them may hold such items.
constexpr std::array<std::string_view, 9> kForeignItems = {
    "web_search_call", "file_search_call", "computer_call", "code_interpreter_call", "image_generation_call",
    "mcp_list_tools", "mcp_call", "compaction", "ghost_snapshot"};

Result<Json> content_part(const Json& part, const std::string& where) {
  const std::string type = text_field(part, "type");
  if (type == "input_image") {
    const Json& url = field_of(part, "image_url");
    if (!url.is_string()) return refuse_at(where + ".image_url", "expected a URL");
    return Json{{"type", "image_url"}, {"image_url", {{"url", url}}}};
  }
  if (type == "refusal") return Json{{"type", "text"}, {"text", text_field(part, "refusal")}};
  if (type == "input_text" || type == "output_text" || type == "text" || type == "summary_text" ||
      type == "reasoning_text") {
    if (!field_of(part, "text").is_string()) return refuse_at(where + ".text", "expected a string");
    return Json{{"type", "text"}, {"text", part["text"]}};
  }
  return refuse_at(where + ".type", "parts of type " + brief(field_of(part, "type")) + " are not supported");
}

Result<Json> chat_content(const Json& content, const std::string& where) {
  if (content.is_string()) return content;
  if (!content.is_array()) return refuse_at(where, "expected a string or a list of parts, got " + brief(content));
  Json parts = Json::array();
  for (size_t i = 0; i < content.size(); ++i) {
    GALE_ASSIGN(Json part, content_part(content[i], fmt::format("{}[{}]", where, i)));
    parts.push_back(std::move(part));
  }
  return parts;
}

// Reads items one after the other into chat messages. What an assistant did in one turn (reasoning, text, calls) stands
// in several items and is one message.
class ItemReader {
 public:
  explicit ItemReader(Json& messages) : messages_(messages) {}

  Status add(const Json& item, const std::string& where) {
    if (!item.is_object()) return refuse_at(where, "expected an object, got " + brief(item));
    const std::string type = item.contains("type") ? text_field(item, "type") : "message";
    if (type == "message") return add_message(item, where);
    if (type == "reasoning") return add_reasoning(item, where);
    if (type == "function_call") return add_call(item, where);
    if (type == "function_call_output") return add_output(item, where);
    if (std::find(kForeignItems.begin(), kForeignItems.end(), type) != kForeignItems.end()) {
      log_debug("{}: an item of type {} is skipped", where, type);
      return {};
    }
    return refuse_at(where + ".type", "items of type " + brief(field_of(item, "type")) + " are not supported");
  }
  void finish() { flush(); }

 private:
  Json& turn() {
    if (turn_.is_null()) turn_ = {{"role", "assistant"}, {"content", nullptr}};
    return turn_;
  }
  void flush() {
    if (!turn_.is_null()) messages_.push_back(std::exchange(turn_, nullptr));
  }
  Status add_message(const Json& item, const std::string& where) {
    GALE_ASSIGN(Json content, chat_content(field_of(item, "content"), where + ".content"));
    if (text_field(item, "role") != "assistant") {
      flush();
      messages_.push_back({{"role", field_of(item, "role")}, {"content", std::move(content)}});
      return {};
    }
    const bool begins_anew = !field_of(turn_, "content").is_null() || turn_.contains("tool_calls");
    if (begins_anew) flush();
    turn()["content"] = std::move(content);
    return {};
  }
  Status add_reasoning(const Json& item, const std::string& where) {
    if (!turn_.is_null()) flush();
    const char* source = field_of(item, "content").empty() ? "summary" : "content";
    GALE_ASSIGN(std::string text, text_of_parts(field_of(item, source), where + "." + source, "\n"));
    if (!text.empty()) turn()["reasoning_content"] = std::move(text);
    return {};
  }
  Status add_call(const Json& item, const std::string& where) {
    if (!field_of(item, "name").is_string()) return refuse_at(where + ".name", "expected a string");
    turn()["tool_calls"].push_back(
        tool_call_json(field_of(item, "call_id"), item["name"], text_field(item, "arguments")));
    return {};
  }
  Status add_output(const Json& item, const std::string& where) {
    flush();
    GALE_ASSIGN(Json content, chat_content(field_of(item, "output"), where + ".output"));
    messages_.push_back(
        {{"role", "tool"}, {"tool_call_id", field_of(item, "call_id")}, {"content", std::move(content)}});
    return {};
  }

  Json& messages_;
  Json turn_;     // the assistant's, still growing; null: none
};

Result<Json> input_items(const Json& input) {
  if (input.is_string()) {
    return Json::array({{{"type", "message"},
                         {"role", "user"},
                         {"content", Json::array({{{"type", "input_text"}, {"text", input}}})}}});
  }
  if (input.is_null()) return Json::array();
  if (!input.is_array()) return refuse_at("input", "expected a string or a list of items, got " + brief(input));
  return input;
}

// Tools of a type that only OpenAI could run are left out; clients such as Codex always send some.
Result<Json> chat_tools(const Json& tools) {
  Json out = Json::array();
  if (tools.is_null()) return out;
  if (!tools.is_array()) return refuse_at("tools", "expected a list, got " + brief(tools));
  for (size_t i = 0; i < tools.size(); ++i) {
    if (!tools[i].is_object())
      return refuse_at(fmt::format("tools[{}]", i), "expected an object, got " + brief(tools[i]));
    const std::string type = text_field(tools[i], "type");
    if (type != "function") {
      log_debug("tool {} of type {} is skipped", i, type.substr(0, 60));
      continue;
    }
    Json tool = function_tool_json(field_of(tools[i], "name"), field_of(tools[i], "description"),
                                   field_of(tools[i], "parameters"));
    if (text_field(tools[i], "name").empty())
      return refuse_at(fmt::format("tools[{}].name", i), "expected a non-empty string");
    copy_fields(tools[i], {"strict"}, tool["function"]);
    out.push_back(std::move(tool));
  }
  return out;
}

Status apply_tool_choice(const Json& choice, Json& chat) {
  if (choice.is_null()) return {};
  if (choice.is_string()) {
    chat["tool_choice"] = choice;
    return {};
  }
  const std::string type = text_field(choice, "type");
  if (type == "function") {
    chat["tool_choice"] = {{"type", "function"}, {"function", {{"name", field_of(choice, "name")}}}};
  } else if (type == "allowed_tools") {
    Json names = Json::array();
    for (const Json& tool : field_of(choice, "tools"))
      names.push_back({{"type", "function"}, {"function", {{"name", field_of(tool, "name")}}}});
    chat["tool_choice"] = {{"type", "allowed_tools"},
                           {"allowed_tools", {{"mode", field_of(choice, "mode")}, {"tools", std::move(names)}}}};
  } else {
    return refuse_at("tool_choice", "expected auto, none, required or a function, got " + brief(choice));
  }
  return {};
}

Status apply_text(const Json& text, Json& chat) {
  const Json& format = field_of(text, "format");
  if (format.is_null()) return {};
  const std::string type = text_field(format, "type");
  if (type == "json_schema") {
    Json schema = Json::object();
    copy_fields(format, {"name", "schema", "strict", "description"}, schema);
    chat["response_format"] = {{"type", type}, {"json_schema", std::move(schema)}};
  } else if (type == "json_object" || type == "text") {
    chat["response_format"] = {{"type", type}};
  } else {
    return refuse_at("text.format.type",
                     "expected text, json_object or json_schema, got " + brief(field_of(format, "type")));
  }
  return {};
}

Status refuse_unsupported(const Json& body) {
  for (const char* key : {"reasoning", "text"}) {
    const Json& value = field_of(body, key);
    if (!value.is_null() && !value.is_object()) return refuse_at(key, "expected an object, got " + brief(value));
  }
  RequestReader reader(body);
  reader.refuse_unless("background", {Json(false)}, "answers are not computed in the background: stream them");
  reader.refuse_unless("conversation", {}, "use previous_response_id");
  reader.refuse_unless("prompt", {}, "prompt templates are not stored here");
  return reader.status();
}

// What the response object says of its request, with what absent fields mean.
Json echo_fields(const Json& body) {
  static const Json kDefaults = {{"instructions", nullptr},
                                 {"max_output_tokens", nullptr},
                                 {"max_tool_calls", nullptr},
                                 {"metadata", Json::object()},
                                 {"parallel_tool_calls", true},
                                 {"previous_response_id", nullptr},
                                 {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                                 {"store", true},
                                 {"temperature", nullptr},
                                 {"text", {{"format", {{"type", "text"}}}}},
                                 {"tool_choice", "auto"},
                                 {"tools", Json::array()},
                                 {"top_logprobs", 0},
                                 {"top_p", nullptr},
                                 {"truncation", "disabled"},
                                 {"user", nullptr}};
  Json fields = kDefaults;
  for (auto& [key, value] : fields.items()) copy_fields(body, {key.c_str()}, fields);
  return fields;
}

}  // namespace

Result<ResponsesRequest> parse_responses_request(const Json& body, const ApiContext& context,
                                                 const FindResponse& find) {
  GALE_TRY(refuse_unsupported(body));
  ResponsesRequest request;
  request.echo.fields = echo_fields(body);
  if (const Json& store = field_of(body, "store"); !store.is_null()) {
    if (!store.is_boolean()) return refuse_at("store", "expected true or false, got " + brief(store));
    request.echo.is_stored = store.get<bool>();
  }
  if (const Json& previous = field_of(body, "previous_response_id"); !previous.is_null()) {
    if (!previous.is_string()) return refuse_at("previous_response_id", "expected a string, got " + brief(previous));
    GALE_ASSIGN(StoredResponse stored, find(previous.get<std::string>()));
    request.echo.input = std::move(stored.items);
  }
  GALE_ASSIGN(const Json items, input_items(field_of(body, "input")));
  const size_t num_before = request.echo.input.size();
  for (const Json& item : items) request.echo.input.push_back(item);

  Json chat = Json::object();
  Json messages = Json::array();
  GALE_ASSIGN(std::string instructions, text_of_parts(field_of(body, "instructions"), "instructions", "\n"));
  if (!instructions.empty()) messages.push_back({{"role", "system"}, {"content", std::move(instructions)}});
  ItemReader reader(messages);
  for (size_t i = 0; i < request.echo.input.size(); ++i) {
    const std::string where =
        i < num_before ? fmt::format("previous_response_id[{}]", i) : fmt::format("input[{}]", i - num_before);
    GALE_TRY(reader.add(request.echo.input[i], where));
  }
  reader.finish();
  if (messages.empty()) return refuse_at("input", "expected a string or a list of at least one item");
  chat["messages"] = std::move(messages);
  GALE_ASSIGN(chat["tools"], chat_tools(field_of(body, "tools")));
  GALE_TRY(apply_tool_choice(field_of(body, "tool_choice"), chat));
  GALE_TRY(apply_text(field_of(body, "text"), chat));
  copy_as(field_of(body, "reasoning"), "effort", "reasoning_effort", chat);
  copy_as(body, "max_output_tokens", "max_tokens", chat);
  copy_fields(body,
              {"model",
               "stream",
               "temperature",
               "top_p",
               "parallel_tool_calls",
               "user",
               "metadata",
               "top_k",
               "min_p",
               "seed",
               "stop",
               "repetition_penalty",
               "frequency_penalty",
               "presence_penalty",
               "logit_bias",
               "cache_salt",
               "priority",
               "ignore_eos",
               "min_tokens",
               "chat_template_kwargs",
               "include_reasoning"},
              chat);
  Result<ChatRequest> parsed = parse_chat_request(chat, context);
  if (!parsed) {
    rename_param(parsed.error(), "max_tokens", "max_output_tokens");
    return tl::unexpected(parsed.error());
  }
  request.chat = std::move(*parsed);
  return request;
}

}  // namespace gale
