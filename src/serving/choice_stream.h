#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/token.h"
#include "chat/output_parser.h"
#include "request/messages.h"
#include "serving/pipeline.h"
#include "serving/stop_matcher.h"

namespace gale {

class Detokenizer;
class Tokenizer;

struct ChoiceOptions {
  std::vector<std::string> stop_strings;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  int min_tokens = 0;                                  // stop strings within them do not count
  bool was_told_to_call = false;                       // a named tool: its call ends with
                                                       // "stop", as OpenAI's and vLLM's do
  std::optional<OutputParserOptions> parser;           // none: raw text
  std::vector<TokenId> reported_stop_ids;              // stop ids that are told as stop_reason: the client's own
};

// What became certain with one step of one choice. `delta` lacks the request's numbers (choice, usage).
struct ChoiceStep {
  Delta delta;
  bool has_output = false;                             // the delta holds something
  std::optional<Finished> finished;                    // set once, with the last delta
};

// One choice's way from tokens to what a client sees: detokenise, split into reasoning, content and calls, cut at stop
// strings. Pure: knows no threads and no engine. Stop strings act on raw text, or with a parser on content only. The
// token that ended generation by its id is not shown as text, unless include_stop_str_in_output.
class ChoiceStream {
 public:
  ChoiceStream(const Tokenizer& tokenizer, const OutputFormat& format, ChoiceOptions options);
  ChoiceStream(const ChoiceStream&) = delete;          // nor moved: a deque takes memory for that
  ChoiceStream& operator=(const ChoiceStream&) = delete;
  ~ChoiceStream();

  // Tokens behind the one that completes a stop string are dropped and not counted.
  [[nodiscard]] ChoiceStep append(SequenceOutput output);

  [[nodiscard]] bool is_finished() const { return is_finished_; }
  // by a stop string: the engine may go on
  [[nodiscard]] bool was_cut() const { return matcher_.match().has_value(); }
  [[nodiscard]] int num_tokens() const { return num_tokens_; }
  [[nodiscard]] int num_reasoning_tokens() const;

 private:
  // A token whose text is partly held back.
  struct HeldToken {
    TokenId token;
    std::optional<TokenLogprobs> logprobs;
    size_t text_end;                                   // in bytes given to the matcher
  };
  void take_token(TokenId token, bool is_stop_token, Delta& delta);
  void take_text(TokenId token, std::string_view text, Delta& delta);
  void take_part(ChatDelta part, Delta& delta);
  void take_content(std::string_view text, Delta& delta);
  void add_content(std::string text, Delta& delta);
  void finish_text(Delta& delta);
  void release_tokens(Delta& delta, bool all);
  [[nodiscard]] Finished finished_by(const SequenceOutput& output) const;

  const ChoiceOptions options_;
  std::unique_ptr<Detokenizer> detokenizer_;
  std::optional<OutputParser> parser_;
  StopMatcher matcher_;
  std::deque<HeldToken> held_tokens_;
  size_t num_matched_bytes_ = 0;                       // given to the matcher so far
  int num_tokens_ = 0;
  bool is_finished_ = false;
};

}  // namespace gale
