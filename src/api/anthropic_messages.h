#pragma once

#include <memory>

#include "api/answer.h"
#include "api/openai_chat.h"

namespace gale {

struct MessagesOptions {
  // Drop the system block with which Claude Code counts its bill: it changes with each request, and with it every
  // cached prefix.
  bool drops_billing_block = true;
};

// The body of POST /v1/messages. Content blocks become the messages, tools and fields of a chat; what a chat cannot
// hold is refused by name. Thinking is off unless `thinking` asks for it, as Anthropic's clients expect.
[[nodiscard]] Result<ChatRequest> parse_messages_request(const Json& body, const ApiContext& context,
                                                         const MessagesOptions& options);

// The body of POST /v1/messages/count_tokens: the same, of which the prompt is wanted; max_tokens is not needed.
struct CountTokensRequest {
  ChatInput prompt;
  std::string model;
};
[[nodiscard]] Result<CountTokensRequest> parse_count_tokens_request(const Json& body, const MessagesOptions& options);

[[nodiscard]] std::unique_ptr<AnswerWriter> make_messages_writer(AnswerInfo info);

// What keeps a silent stream of messages alive.
inline constexpr std::string_view kMessagesPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

}  // namespace gale
