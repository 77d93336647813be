#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/token.h"
#include "chat/answer_rules.h"
#include "chat/chat_template.h"
#include "chat/output_parser.h"
#include "request/messages.h"

// What a client asks for and what it is told, in the model's terms: wire formats (api) and the pipeline (serving) meet
// here.
namespace gale {

// ---- what api makes of a client's JSON ----------------------------------------------------------------------------

struct TextPrompt { std::string text; bool add_special_tokens = true; };
struct TokenPrompt { std::vector<TokenId> tokens; };
using PromptInput = std::variant<ChatInput, TextPrompt, TokenPrompt>;

// Where a client said nothing the model's generation defaults, then SamplingParams' own, apply.
struct SamplingOverrides {
  std::optional<float> temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;                 // none: the front draws one
};

// Vectors in place of text: one for each input, in the order of the list.
struct PoolingRequest {
  Pooling pooling = Pooling::kLast;
  std::vector<PromptInput> inputs;              // >= 1
};

struct GenerateRequest {
  PromptInput prompt;
  SamplingOverrides sampling;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::vector<TokenId> allowed_token_ids;
  std::vector<std::string> bad_words;           // as they are and behind a space; not to come in the output
  int num_logprobs = -1, num_prompt_logprobs = -1;
  std::optional<int>
      truncate_prompt_tokens;  // longer prompts lose their beginning; -1: what the context leaves; none: refused
  bool truncates_end = false;                   // … or their end
  std::optional<int> max_tokens;                // none: --default-max-tokens or what is left of the context
  int min_tokens = 0;
  std::vector<std::string> stop;                // stop strings
  std::vector<TokenId> stop_token_ids;
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  bool parse_output = false;                    // chat: split into reasoning, content and tool calls
  AnswerRules rules;                            // tools and what form the answer must have
  std::optional<int> thinking_budget;           // tokens of thinking; none: no limit
  int n = 1;
  std::optional<PoolingRequest> pooling;        // in place of the prompt; what is said of output means nothing then
  int priority = 0;
  std::string cache_salt;
  std::string tenant;                           // whose limits count; empty: nobody's
  std::string request_id;                       // for logs; already validated
};

// ---- what a sink gets, in this order for each choice --------------------------------------------------------------

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_tokens = 0;
  int reasoning_tokens = 0;
};
// Once, first: the request was admitted and tokenised. Tokens of all inputs, where several are pooled.
struct Started { std::vector<TokenId> prompt_tokens; };
// Logprobs of the prompt (echo), once per request, before the first delta; first entry (no logprob) is left out.
struct PromptLogprobs { std::vector<TokenLogprobs> tokens; };
// New output of a choice. `text` is raw text if parse_output is off, else `parts` holds it split. Text never ends
// inside a code point, and never holds (part of) a stop string that is not to be shown. Tokens and logprobs are those
// that text became certain with; they may come with empty text, or text without tokens at the end.
struct Delta {
  int choice = 0;
  std::string text;
  std::vector<ChatDelta> parts;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;
  Usage usage;                                  // so far, this request
};
enum class ChoiceFinish : uint8_t { kStop, kLength, kToolCalls };
struct Finished {
  int choice = 0;
  ChoiceFinish reason = ChoiceFinish::kStop;
  std::variant<std::monostate, std::string, TokenId> stop_reason;   // the stop string or client's stop id that ended it
};
// The vector of one input, not normalised; inputs come in any order. Nothing else comes between Started and Completed.
struct Pooled { int input = 0; std::vector<float> vector; };
// Where the time of a request went: in the engine, of the choice that was ready last.
struct RequestTimes {
  double queue_s = 0;                           // until it was first admitted to a batch
  double prefill_s = 0;                         // from there to its first token
  double inference_s = 0;                       // from there to its last
  double parser_s = 0;                          // of the front: from tokens to text, thinking and calls, of all choices
};
// Once, last, after all choices finished.
struct Completed { Usage usage; RequestTimes times; };
// Instead of everything that would follow. Nothing comes after it.
struct Failed { Error error; std::optional<int> retry_after_s; };
using Event = std::variant<Started, PromptLogprobs, Delta, Finished, Pooled, Completed, Failed>;

}  // namespace gale
