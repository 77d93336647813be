#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace gale {

// A model's own defaults: generation_config.json, with eos ids from config.json (text_config too) where it has none.
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  std::vector<TokenId> eos_token_ids;
};

// Missing generation_config.json is fine; a malformed one, or no eos id anywhere, is an error that names the file.
[[nodiscard]] Result<GenerationDefaults> load_generation_defaults(const std::string& model_dir);

}  // namespace gale
