#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/token.h"

namespace gale {

// How the next token is chosen. Values are validated by whoever reads them from a client (api, config).
struct SamplingParams {
  float temperature = 1.0F;            // 0: greedy
  float top_p = 1.0F;                  // (0, 1]
  float min_p = 0.0F;                  // [0, 1]
  int top_k = 0;                       // 0: all
  float repetition_penalty = 1.0F;     // > 0; over prompt and output
  float frequency_penalty = 0.0F;      // [-2, 2]; over the output
  float presence_penalty = 0.0F;       // [-2, 2]; over the output
  uint64_t seed = 0;                   // always set: the front draws one for a request that brings none
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::vector<TokenId> allowed_token_ids;   // empty: all
  std::vector<std::vector<TokenId>> bad_words;   // runs that the output must not hold; none is empty
  int num_logprobs = -1;               // -1: none; 0: the chosen token's; k: and the k best
  int num_prompt_logprobs = -1;        // the same for prompt tokens; such a request takes no prefix hit
  bool operator==(const SamplingParams&) const = default;
};

// When the engine ends a sequence by itself. Stop strings live in the front.
struct StopCondition {
  std::vector<TokenId>
      stop_token_ids;  // eos ids of the model (unless ignore_eos) and the client's; all end the sequence
  int min_tokens = 0;                  // below this many output tokens no stop id may be drawn
  int max_tokens = 16;                 // >= 1; output tokens over the whole life of the request, resumes included
  bool operator==(const StopCondition&) const = default;
};

}  // namespace gale
