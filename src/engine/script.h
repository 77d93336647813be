#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace gale {

// What the scripted engine does instead of computing: a JSON file. docs/testing-scripted-engine.md explains it by
// examples.
//
//   {"model_name": "scripted", "vocab_size": 8192, "max_model_len": 4096, "load_ms": 0,
//    "card": {"folder": "DIR", "total_bytes": 100, "needed_bytes": 60},
//    "step_ms": 0, "tokens_per_s": 0, "prefill_tokens_per_s": 0,
//    "default": REPLY,
//    "requests": [{"order": 0, "prompt_contains": [5, 6], "prompt_length": 3, REPLY…}, …],
//    "faults": [{"kind": "abort", "at_step": 10, "at_token": 100, "prompt_contains": [66], "after_output": 5,
//                "marker": "FILE", "ms": 1000, "exit_code": 3}, …]}
//   REPLY: {"tokens": [ids], "repeat": n, "stop": true} or {"echo_prompt": true, "repeat": n, "stop": true}, both with
//   "delay_ms"

// What one request is answered.
struct ScriptReply {
  std::vector<TokenId> tokens;
  bool echo_prompt = false;            // the prompt's tokens instead
  int repeat = 1;                      // how often the tokens come before the end; 0: until max_tokens
  bool stop = true;                    // then the request's first stop token; without
                                       // one (or with false) the tokens go on
  int delay_ms = 0;                    // each step that gives this request a token takes so much longer
};

// Which requests; all given conditions must hold.
struct ScriptMatch {
  std::optional<int64_t> order;                // n-th request this engine sees, from 0
  std::vector<TokenId> prompt_contains;        // a run of tokens somewhere in the prompt
  std::optional<int> prompt_length;
  [[nodiscard]] bool holds(int64_t request_order, const std::vector<TokenId>& tokens, int num_prompt_tokens) const;
};

struct ScriptRequest {
  ScriptMatch match;
  ScriptReply reply;
};

enum class ScriptFaultKind : uint8_t {
  kNan,       // the matching sequence's logits are not numbers: it alone fails
  kFail,      // the device reports an error: the engine sends a Fault and leaves
  kAbort,     // the process aborts
  kExit,      // the process exits with exit_code
  kHang,      // the step takes `ms` longer
};

// Happens once, in the first step where all given conditions hold; before that step's tokens come out.
struct ScriptFault {
  ScriptFaultKind kind = ScriptFaultKind::kAbort;
  std::optional<uint64_t> at_step;             // steps done by this engine >= n
  std::optional<uint64_t> at_token;            // output tokens given by this engine, this step's included, >= n
  ScriptMatch match;                           // a sequence of the step that …
  std::optional<int> after_output;             // … has at least so many output tokens
  bool needs_sequence = false;                 // match or after_output were given
  std::string marker;                          // not if this file exists; it is made first: once, over all restarts
  int64_t ms = 0;
  int exit_code = 1;
};

// Memory that engines share, those which name the same folder: each leaves a file there that says what it holds.
struct ScriptCard {
  std::string folder;
  int64_t total_bytes = 0;
  int64_t needed_bytes = 0;            // by this engine
};

struct Script {
  std::string model_name = "scripted";
  int vocab_size = 8192;
  int max_model_len = 4096;
  int load_ms = 0;
  double step_ms = 0;                  // every step takes at least so long
  double tokens_per_s = 0;             // capacity for output tokens, all sequences together; 0: no limit
  double prefill_tokens_per_s = 0;     // and for prompt tokens
  std::optional<ScriptCard> card;      // none: there is always room
  ScriptReply default_reply;
  std::vector<ScriptRequest> requests; // the first that matches counts
  std::vector<ScriptFault> faults;
};

// Unknown keys, wrong types and ids beyond vocab_size are errors that name the place.
[[nodiscard]] Result<Script> parse_script(std::string_view text);
[[nodiscard]] Result<Script> read_script(const std::string& path);

// Token number `index` (from 0) of a reply: a pure function, so that a resumed request goes on as it would have.
[[nodiscard]] TokenId scripted_token(const ScriptReply& reply, std::span<const TokenId> prompt,
                                     std::span<const TokenId> stop_token_ids, int min_tokens, int64_t index);

}  // namespace gale
