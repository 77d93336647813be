#pragma once

#include <optional>

#include "base/json.h"
#include "base/result.h"

namespace gale {

struct ThinkingFields {
  std::optional<bool> is_on;           // none: the model's own way
  std::optional<int> budget;           // tokens; none: no limit
};

// reasoning_effort (OpenAI), reasoning {enabled, effort} (SGLang, OpenRouter), thinking {type} (Z.ai, Anthropic) and
// thinking_token_budget (vLLM; -1: no limit). Effort none and minimal turn thinking off, low and medium limit it.
[[nodiscard]] Result<ThinkingFields> parse_thinking(const Json& body);

}  // namespace gale
