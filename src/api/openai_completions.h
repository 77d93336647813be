#pragma once

#include <vector>

#include "api/generation_fields.h"
#include "base/json.h"

namespace gale {

// A list of prompts is that many requests; prompt p has the choices p * n … p * n + n - 1.
struct CompletionRequest {
  std::vector<GenerateRequest> generate;
  AnswerOptions answer;
  bool echo = false;
  bool is_echo_only = false;   // max_tokens 0 beside echo: nothing but the prompt is told (`generate` says 1)
};

// The body of POST /v1/completions: a text, token ids, or a list of either.
[[nodiscard]] Result<CompletionRequest> parse_completion_request(const Json& body, const ApiContext& context);

}  // namespace gale
