#pragma once

#include "api/generation_fields.h"
#include "base/json.h"

namespace gale {

struct ChatRequest {
  GenerateRequest generate;
  AnswerOptions answer;
  bool include_reasoning = true;
};

// The body of POST /v1/chat/completions. Fields: docs/api.md; errors name the field in `param`.
[[nodiscard]] Result<ChatRequest> parse_chat_request(const Json& body, const ApiContext& context);

// The parts of a body that make a prompt ("messages", "tools", "chat_template_kwargs", …); /tokenize reads them too.
[[nodiscard]] Result<ChatInput> parse_chat_input(const Json& body);
// The same without "messages".
[[nodiscard]] Result<ChatInput> parse_chat_setting(const Json& body);

}  // namespace gale
