#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/token.h"

namespace gale {

class Tokenizer;

struct ReasoningDelta {
  std::string text;
  bool operator==(const ReasoningDelta&) const = default;
};
struct ContentDelta {
  std::string text;
  bool operator==(const ContentDelta&) const = default;
};
// Comes once a call, before its arguments.
struct ToolCallStart {
  int index;          // 0, 1, ... within the answer
  std::string id;
  std::string name;
  bool operator==(const ToolCallStart&) const = default;
};
// All pieces of one call together are one valid JSON object, also when generation stopped in the middle.
struct ToolArgumentsDelta {
  int index;
  std::string json_piece;
  bool operator==(const ToolArgumentsDelta&) const = default;
};
using ChatDelta = std::variant<ReasoningDelta, ContentDelta, ToolCallStart, ToolArgumentsDelta>;

// A tag of the output language: its id, and how it is written (where a tag is plain text it appears as that).
struct OutputTag {
  TokenId id = kNoToken;
  std::string text;
};

// Which ids structure a model's output. A model may lack thinking, tool calls, or both.
struct OutputFormat {
  OutputTag think_open, think_close;
  OutputTag tool_call_open, tool_call_close, arg_key_open, arg_key_close, arg_value_open, arg_value_close;
  std::vector<TokenId> turns;   // <|user|>, <|assistant|> and their like: where a new turn begins

  [[nodiscard]] bool has_reasoning() const { return think_open.id != kNoToken; }
  [[nodiscard]] bool has_tool_calls() const { return tool_call_open.id != kNoToken; }

  // From the added tokens. Tags count only if their whole set is there (Qwen has <tool_call>, but not <arg_key>).
  [[nodiscard]] static OutputFormat detect(const Tokenizer& tokenizer);
};

// Where the turn that a prompt ends with stands: the last think tag after the last turn token decides.
enum class PromptThinking : uint8_t {
  kUnopened,     // no tag: a model that thinks opens it itself
  kOpen,         // the output begins inside reasoning
  kClosed,       // thinking is over, or off
};
[[nodiscard]] PromptThinking thinking_in_prompt(const OutputFormat& format, std::span<const TokenId> prompt);

struct OutputParserOptions {
  bool starts_in_reasoning = false;
  bool parse_tool_calls = true;              // false: tool tags are text like any other
  Json tools;                                // OpenAI tool objects: their schemas type the arguments; may be null
  bool strip_leading_newline = true;         // of the content, one
  uint64_t tool_call_id_seed = 0;            // equal seeds give equal ids
};

enum class OutputPhase { kReasoning, kContent, kToolCall };

// Splits the output of a GLM model into reasoning, content and tool calls while it is generated. Reads both dialects:
// compact (4.7) `<tool_call>NAME<arg_key>K</arg_key><arg_value>V</arg_value></tool_call>` and with newlines (4.5, 4.6).
// Tags are recognised by token id, so text that merely looks like a tag is text. The concatenated deltas do not depend
// on how text is cut into tokens.
//
// Decisions where output is irregular:
//   - reasoning ends at </think> or, if tool calls are parsed, at <tool_call>; think tags are never passed on: <think>
//     opens reasoning only before any content or call, later think tags vanish and their text is content;
//   - blanks between content and a call, between calls, and before <think> are dropped;
//   - a name ends at the first newline or tag; a call without a name, or with one that does not end within 512 bytes,
//   is
//     content, tags included; more than 4096 blanks in a row are content, whatever follows;
//   - a value ends at </arg_value> only and may hold every other tag as text;
//   - a value is a string if the tool's schema says so, verbatim; else JSON, else a Python literal, else a string;
//     of two arguments with one key the first counts; text between arguments is dropped;
//   - when generation stops inside a call, a string argument keeps what has come, an unfinished other argument is
//     left out, and the object is closed; an unfinished name is a call only if a tool has exactly that name;
//   - tool-call tags outside of calls are text.
class OutputParser {
 public:
  OutputParser(const OutputFormat& format, OutputParserOptions options);
  OutputParser(OutputParser&&) noexcept;
  OutputParser& operator=(OutputParser&&) noexcept;
  ~OutputParser();

  // `text`: what the detokenizer gave for `id`; for a tag it may begin with text held back earlier, and may lack the
  // tag itself (special tokens skipped).
  [[nodiscard]] std::vector<ChatDelta> append(TokenId id, std::string_view text);

  // The rest, after the last token. Text that the detokenizer still holds is to be appended before, with id kNoToken.
  [[nodiscard]] std::vector<ChatDelta> finish();

  [[nodiscard]] bool made_tool_calls() const;
  [[nodiscard]] OutputPhase phase() const;  // where the next token will fall: stop strings act on content only
  [[nodiscard]] int num_reasoning_tokens() const;     // tokens so far that belonged to reasoning, tags included

 private:
  class Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace gale
