#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "api/generation_fields.h"
#include "base/json.h"
#include "chat/generation.h"

namespace gale {

// What every chunk or body of one answer says.
struct AnswerInfo {
  std::string id;                                         // "chatcmpl-…", "cmpl-…"
  std::string request_id;
  std::string model;
  int64_t created = 0;                                    // unix seconds
  AnswerOptions options;
  int num_requests = 1;                                   // prompts of a completion; 1 for chat
  int num_choices = 1;                                    // n of each
  bool include_reasoning = true;                          // chat
  bool echo = false;                                      // completions
  std::function<std::string(TokenId)> token_text;         // bytes of a token
};

// Turns the events of one client request into its answer. For streams `add` returns the frames to send at once; for
// whole answers it returns nothing until is_done(), then body() is the answer. One thread at a time.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // request: which prompt the event belongs to, 0 … num_requests - 1. std::bad_alloc: the event was not told, and the
  // answer is not done; all that can still be told is that it failed.
  [[nodiscard]] virtual std::string add(int request, const Event& event) = 0;
  [[nodiscard]] virtual bool is_done() const = 0;        // all requests completed, or one failed
  [[nodiscard]] virtual std::string body() const = 0;    // whole answers only; after is_done() without error
  [[nodiscard]] virtual const std::optional<Failed>& failure() const = 0;
};

[[nodiscard]] std::unique_ptr<AnswerWriter> make_chat_stream(AnswerInfo info);
[[nodiscard]] std::unique_ptr<AnswerWriter> make_chat_answer(AnswerInfo info);
[[nodiscard]] std::unique_ptr<AnswerWriter> make_completion_stream(AnswerInfo info);
[[nodiscard]] std::unique_ptr<AnswerWriter> make_completion_answer(AnswerInfo info);
// Completions that only tell their prompts, with logprobs if asked: what is generated stays out of `writer`'s answer.
[[nodiscard]] std::unique_ptr<AnswerWriter> make_echo_only(std::unique_ptr<AnswerWriter> writer);

}  // namespace gale
