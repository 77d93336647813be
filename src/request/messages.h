#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/distribution.h"
#include "base/result.h"
#include "base/shared_text.h"
#include "base/strong_id.h"
#include "base/token.h"
#include "request/sampling_params.h"

namespace gale {

// One sequence the engine works on. A client's request with n choices is n of them.
using RequestId = StrongId<struct RequestIdTag, uint64_t>;

// ---- front to engine ------------------------------------------------------------------------------------------------

// The thinking an output begins with.
struct Thinking {
  TokenId open = kNoToken;             // the output has to begin with this token; none: thinking is open already
  TokenId close = kNoToken;            // ends it; none: there is no thinking, and the rest means nothing
  int budget = -1;                     // tokens after which `close` must come; -1: no limit
  [[nodiscard]] bool is_expected() const { return close != kNoToken; }
  bool operator==(const Thinking&) const = default;
};

// One vector of the final hidden states of the prompt, in place of an answer: the last token's, or the mean of all.
enum class Pooling : uint8_t { kNone, kLast, kMean };

// Everything the engine needs to compute a sequence, at first or after a restart: it keeps no state that this cannot
// rebuild.
struct Submit {
  RequestId id;
  std::vector<TokenId> prompt;         // >= 1
  std::vector<TokenId> output;         // tokens the front already has; the engine continues behind them
  SamplingParams sampling;
  StopCondition stop;
  std::string cache_salt;              // prefixes are shared only under equal salt
  std::vector<std::string> extra_hash_keys;   // content that token ids do not show (images, later)
  int priority = 0;                    // lower runs first, as vLLM's
  int64_t deadline_ms = 0;             // remaining time at submission; 0: none
  SharedText grammar;                  // serialised (grammar/grammar.h), holds behind thinking; empty: none
  Thinking thinking;                   // told only where a grammar or a budget needs it
  Pooling pooling = Pooling::kNone;    // else no token is drawn: the sequence ends with its prompt
  bool operator==(const Submit&) const = default;
};

struct Cancel {
  RequestId id;
  bool operator==(const Cancel&) const = default;
};

enum class ControlCommand : uint8_t { kDrain, kResetPrefixCache, kCheckIntegrity };
struct Control {
  ControlCommand command = ControlCommand::kDrain;
  bool operator==(const Control&) const = default;
};

// What the tokens are, for grammars: an engine gets it before the first Submit with a grammar.
struct Vocabulary {
  std::vector<std::string> tokens;           // their bytes, by id; empty: no token
  std::vector<TokenId> control_tokens;       // tags and their like: never part of text
  std::vector<TokenId> stop_token_ids;       // end an answer
  bool operator==(const Vocabulary&) const = default;
};

// ---- engine to front ------------------------------------------------------------------------------------------------

// Sent once, when the model is loaded and the first step could run.
struct Ready {
  std::string model_name;              // architecture
  int max_model_len = 0;               // tokens a sequence may have, prompt and output
  int vocab_size = 0;
  int block_size = 0;
  int64_t num_blocks = 0;
  int max_num_seqs = 0;
  double load_seconds = 0;
  int hidden_size = 0;                 // of a pooled vector
  int64_t memory_bytes = 0;            // of the device, that are free again when the engine has ended; 0: not known
  bool operator==(const Ready&) const = default;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  int rank = 0;                        // 1: the most likely
  bool operator==(const TokenLogprob&) const = default;
};
struct TokenLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
  bool operator==(const TokenLogprobs&) const = default;
};

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kError };

// What time of the engine a sequence took since its former output.
struct SequenceTime {
  int64_t waiting_us = 0;              // until it was first admitted: with the first output
  int64_t running_us = 0;              // since then, or since its former output; being preempted is part of it
  bool operator==(const SequenceTime&) const = default;
};

// What one sequence got in one step: 0 … k + 1 tokens.
struct SequenceOutput {
  RequestId id;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;           // one for each token if asked for
  std::vector<TokenLogprobs> prompt_logprobs;    // of the prompt tokens computed in this step, from the second on
  std::optional<FinishReason> finish;            // set exactly once, with the last tokens
  std::optional<TokenId> stop_token;             // the stop id that ended it; it is the last of `tokens`
  std::optional<Error> error;                    // with kError: the request failed, others live
  std::optional<int> num_cached_tokens;          // prompt tokens found in the prefix cache; with the first output
  std::vector<float> pooled;                     // with the finish, if pooling was asked for: hidden_size numbers
  SequenceTime time;
  bool operator==(const SequenceOutput&) const = default;
};
struct StepOutput {
  uint64_t step = 0;
  std::vector<SequenceOutput> sequences;
  bool operator==(const StepOutput&) const = default;
};

// vLLM's buckets for the tokens of a step.
inline constexpr std::array kStepTokenBounds = {1.,   8.,   16.,   32.,   64.,   128.,  256.,
                                                512., 1024., 2048., 4096., 8192., 16384.};

// Sent at least twice a second, busy or idle: the engine's beat.
struct Stats {
  uint64_t step = 0;                   // finished steps
  int num_running = 0;
  int num_waiting = 0;
  int64_t num_blocks = 0;
  int64_t num_free_blocks = 0;         // free or holding only unreferenced cached prefixes
  int64_t num_cached_blocks = 0;       // of them: holding a cached prefix
  uint64_t num_preemptions = 0;
  uint64_t prefix_queries = 0;         // tokens looked up
  uint64_t prefix_hits = 0;            // tokens found
  uint64_t prompt_tokens = 0;          // computed
  uint64_t generation_tokens = 0;
  uint64_t num_leaked_blocks = 0;      // found by the audit when idle: always 0
  uint64_t num_failures = 0;  // sequences that a step failed (no usable logits, a broken constraint); others lived on
  uint64_t num_kv_warnings = 0;        // times that more than 90 % of the blocks were in use
  uint64_t num_layered_steps = 0;      // in which a long prompt passed through some of the layers
  Distribution<kStepTokenBounds> step_tokens;   // computed in each step, of prompts and outputs
  bool operator==(const Stats&) const = default;
};

// The engine cannot go on (or could not start); it exits after this.
struct Fault {
  Error error;
  bool operator==(const Fault&) const = default;
};

using ToEngine = std::variant<Submit, Cancel, Control, Vocabulary>;
using ToFront = std::variant<Ready, StepOutput, Stats, Fault>;

}  // namespace gale
