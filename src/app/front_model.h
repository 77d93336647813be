#pragma once

#include <memory>

#include "base/result.h"
#include "chat/chat_template.h"
#include "config/config.h"

namespace gale {

class Tokenizer;

// What the front reads of a model folder; weights are the engine's.
struct FrontModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;   // null: the model has none
  GenerationDefaults defaults;
};

// Checks config and tensors' headers, too: what cannot be served is known before anybody waits for the engine.
[[nodiscard]] Result<FrontModel> load_front_model(const Config& config);

}  // namespace gale
