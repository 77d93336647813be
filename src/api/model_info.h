#pragma once

#include <span>
#include <string>
#include <vector>

#include "api/generation_fields.h"
#include "base/json.h"
#include "base/result.h"
#include "chat/generation.h"

namespace gale {

// One name under which a model is served.
struct ModelCard {
  std::string name;
  int64_t created = 0;          // unix seconds
  int max_model_len = 0;
  int embedding_size = 0;       // 0: not known yet
  Pooling pooling = Pooling::kLast;
};
[[nodiscard]] Json model_json(const ModelCard& card);
[[nodiscard]] Json model_list_json(std::span<const ModelCard> cards);

struct TokenizeRequest {
  PromptInput prompt;
  std::string model;
  bool return_token_strs = false;
};
// The body of POST /tokenize: {"prompt"} or {"messages", "tools", …}.
[[nodiscard]] Result<TokenizeRequest> parse_tokenize_request(const Json& body);
// `token_strs` only if asked for.
[[nodiscard]] Json tokenize_json(std::span<const TokenId> tokens, int max_model_len,
                                 const std::vector<std::string>* token_strs);

struct DetokenizeRequest {
  std::vector<TokenId> tokens;
  std::string model;
};
// The body of POST /detokenize: {"tokens": [ids]}.
[[nodiscard]] Result<DetokenizeRequest> parse_detokenize_request(const Json& body, const ApiContext& context);

}  // namespace gale
