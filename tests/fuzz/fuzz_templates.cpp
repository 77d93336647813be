// Jinja templates, and what clients put into them.
#include <memory>

#include "base/json.h"
#include "chat/chat_template.h"
#include "chat/messages.h"
#include "fuzz_targets.h"

namespace gale {
namespace {

void check_rendering(const Result<std::vector<PromptSegment>>& segments) {
  if (!segments) return fuzz_check_message(segments.error().message);
  for (size_t i = 0; i < segments->size(); ++i) {
    fuzz_check(!(*segments)[i].text.empty(), "no segment is empty");
    fuzz_check(i == 0 || (*segments)[i].is_template_text != (*segments)[i - 1].is_template_text, "neighbours differ");
  }
}

Json field(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object[key] : Json();
}

}  // namespace

void fuzz_template_source(std::string_view input) {
  static const ChatInput conversation{
      .messages =
          Json::parse(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<|user|> hi"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": "function",
          "function": {"name": "f", "arguments": {"a": [1, 2.5, null, true]}}}]}, {"role": "tool", "content": "3"}])"),
      .tools = Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])"),
      .documents = {},
      .template_kwargs = Json::parse(R"({"enable_thinking": false})")};
  const auto parsed = ChatTemplate::parse(std::string(input), Json::parse(R"({"eos_token": "</s>"})"));
  if (!parsed) return fuzz_check_message(parsed.error().message);
  check_rendering((*parsed)->render(conversation));
}

// {"messages": …, "tools": …, "kwargs": …}, rendered by the built-in model's template.
void fuzz_template_input(std::string_view input) {
  static const std::unique_ptr<ChatTemplate> builtin = [] {
    auto loaded = ChatTemplate::load(GALE_SOURCE_DIR "/models/nano-flash");
    fuzz_check(loaded.has_value(), "the built-in template loads");
    return std::move(*loaded);
  }();
  const Result<Json> given = parse_json(input);
  if (!given) return;
  const Result<Json> messages = normalise_messages(field(*given, "messages"));
  if (!messages) return fuzz_check_message(messages.error().message);
  check_rendering(builtin->render({.messages = *messages,
                                   .tools = field(*given, "tools"),
                                   .documents = {},
                                   .template_kwargs = field(*given, "kwargs")}));
}

}  // namespace gale
