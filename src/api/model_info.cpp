#include "api/model_info.h"

#include <fmt/chrono.h>

#include <ctime>

#include "api/openai_chat.h"
#include "api/request_reader.h"
#include "base/utf8.h"

namespace gale {

Json model_json(const ModelCard& card) {
  Json out;
  out["id"] = card.name;
  out["object"] = "model";
  out["created"] = card.created;
  out["owned_by"] = "gale";
  out["root"] = card.name;
  out["parent"] = nullptr;
  out["max_model_len"] = card.max_model_len;
  // Whoever builds a search on these vectors should know what they are.
  out["embeddings"] = {{"dimensions", card.embedding_size > 0 ? Json(card.embedding_size) : Json(nullptr)},
                       {"pooling", card.pooling == Pooling::kMean ? "mean" : "last"},
                       {"trained_for_retrieval", false},
                       {"note", "pooled hidden states of a model that was trained to write text, not for retrieval"}};
  out["permission"] = Json::array();
  out["type"] = "model";                     // what Anthropic's clients read
  out["display_name"] = card.name;
  out["created_at"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(card.created)));
  return out;
}

Json model_list_json(std::span<const ModelCard> cards) {
  Json data = Json::array();
  for (const ModelCard& card : cards) data.push_back(model_json(card));
  Json list{{"object", "list"}, {"data", data}, {"has_more", false}, {"first_id", nullptr}, {"last_id", nullptr}};
  if (!cards.empty()) {
    list["first_id"] = cards.front().name;
    list["last_id"] = cards.back().name;
  }
  return list;
}

Result<TokenizeRequest> parse_tokenize_request(const Json& body) {
  RequestReader reader(body);
  TokenizeRequest request;
  reader.string("model", request.model);
  reader.boolean("return_token_strs", request.return_token_strs);
  TextPrompt prompt;
  reader.string("prompt", prompt.text);
  reader.boolean("add_special_tokens", prompt.add_special_tokens);
  if (reader.find("messages") != nullptr) {
    GALE_TRY(reader.status());
    GALE_ASSIGN(request.prompt, parse_chat_input(body));
    return request;
  }
  if (reader.find("prompt") == nullptr) {
    reader.refuse("prompt", ErrorCode::kInvalidArgument, "`prompt` (a string) or `messages` is needed");
  }
  GALE_TRY(finish_reading(reader));
  GALE_TRY(parse_chat_setting(body));   // without messages it changes nothing, and has to be right all the same
  request.prompt = std::move(prompt);
  return request;
}

Json tokenize_json(std::span<const TokenId> tokens, int max_model_len, const std::vector<std::string>* token_strs) {
  Json out;
  out["count"] = tokens.size();
  out["max_model_len"] = max_model_len;
  out["tokens"] = Json(std::vector<TokenId>(tokens.begin(), tokens.end()));
  if (token_strs == nullptr) {
    out["token_strs"] = nullptr;
    return out;
  }
  out["token_strs"] = Json::array();
  for (const std::string& bytes : *token_strs) out["token_strs"].push_back(replace_invalid_utf8(bytes));
  return out;
}

Result<DetokenizeRequest> parse_detokenize_request(const Json& body, const ApiContext& context) {
  RequestReader reader(body);
  DetokenizeRequest request;
  reader.string("model", request.model);
  if (reader.find("tokens") == nullptr)
    reader.refuse("tokens", ErrorCode::kInvalidArgument, "`tokens` (a list of ids) is needed");
  reader.token_ids("tokens", context.vocab_size, request.tokens);
  GALE_TRY(finish_reading(reader));
  return request;
}

}  // namespace gale
