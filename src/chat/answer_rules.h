#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "chat/output_parser.h"

namespace gale {

enum class CallRule : uint8_t {
  kNone,         // calls are not parsed, or there are no tools
  kFree,         // tool_choice auto: the model decides
  kRequired,     // the answer is calls and nothing else
};

// What an answer must be, token by token. Thinking before it is not touched.
struct AnswerRules {
  Json text_format;              // of the answer's text: a format of xgrammar's structural tags; null: any text
  std::string text_param;        // the request's field that said so, for errors
  CallRule calls = CallRule::kNone;
  std::string only_tool;         // with kRequired: this one; empty: any
  bool single_call = false;      // parallel_tool_calls false, or a named tool

  [[nodiscard]] bool need_grammar() const {
    return !text_format.is_null() || calls == CallRule::kRequired || (calls == CallRule::kFree && single_call);
  }
};

// How a model writes a call: on one line (4.7), or name, keys and values on lines of their own (4.5, 4.6).
enum class CallDialect : uint8_t { kCompact, kLines };

class ChatTemplate;
// As the template writes the calls of earlier turns; compact without a template.
[[nodiscard]] CallDialect detect_call_dialect(const ChatTemplate* chat_template);

// The structural tag (grammar/grammar.h) of these rules. `tools`: as the client sent them. kInvalidArgument if the
// model writes no calls, or a strict tool's schema cannot be enforced.
[[nodiscard]] Result<std::string> answer_grammar(const AnswerRules& rules, const Json& tools,
                                                 const OutputFormat& format, CallDialect dialect);

}  // namespace gale
