#pragma once

#include <cstddef>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "chat/generation.h"

namespace gale {

struct PromptListField {
  const char* key;                     // "prompt", "input"
  size_t max_prompts = 0;
  int vocab_size = 0;
};

// A field that holds a text, token ids, or a list of either; none of them empty.
[[nodiscard]] Result<std::vector<PromptInput>> read_prompt_list(const Json& body, const PromptListField& field);

}  // namespace gale
