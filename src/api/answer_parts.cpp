#include "api/answer_parts.h"

#include <algorithm>

#include "api/errors.h"
#include "base/utf8.h"

namespace gale {
namespace {

constexpr std::string_view kFingerprint = "gale";
constexpr float kLeastLogprob = -9999.0F;   // how OpenAI writes "impossible": JSON has no infinity

float told(float logprob) { return std::max(logprob, kLeastLogprob); }

int64_t num_characters(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

std::string token_name(const AnswerInfo& info, TokenId token) {
  return info.options.shows_tokens_as_ids ? fmt::format("token_id:{}", token)
                                          : replace_invalid_utf8(info.token_text(token));
}

Json token_json(const AnswerInfo& info, const TokenLogprob& entry) {
  const std::string bytes = info.token_text(entry.token);
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return {{"token", token_name(info, entry.token)}, {"logprob", told(entry.logprob)}, {"bytes", std::move(list)}};
}

}  // namespace

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

std::string_view finish_name(ChoiceFinish reason) {
  switch (reason) {
    case ChoiceFinish::kStop: return "stop";
    case ChoiceFinish::kLength: return "length";
    case ChoiceFinish::kToolCalls: return "tool_calls";
  }
  return "stop";
}

Json stop_reason_json(const Finished& finished) {
  if (const auto* text = std::get_if<std::string>(&finished.stop_reason)) return *text;
  if (const auto* token = std::get_if<TokenId>(&finished.stop_reason)) return *token;
  return nullptr;
}

Json chat_logprobs_json(const AnswerInfo& info, std::span<const TokenLogprobs> logprobs) {
  Json content = Json::array();
  for (const TokenLogprobs& entry : logprobs) {
    Json item = token_json(info, entry.chosen);
    item["top_logprobs"] = Json::array();
    for (const TokenLogprob& top : entry.top) item["top_logprobs"].push_back(token_json(info, top));
    content.push_back(std::move(item));
  }
  return {{"content", std::move(content)}};
}

Json prompt_logprobs_json(const AnswerInfo& info, std::span<const TokenLogprobs> logprobs) {
  Json list = Json::array({nullptr});
  for (const TokenLogprobs& entry : logprobs) {
    Json tokens = Json::object();
    const auto add = [&](const TokenLogprob& one) {
      tokens[fmt::format("{}", one.token)] = {{"logprob", told(one.logprob)},
                                              {"rank", one.rank},
                                              {"decoded_token", replace_invalid_utf8(info.token_text(one.token))}};
    };
    add(entry.chosen);
    for (const TokenLogprob& top : entry.top) add(top);
    list.push_back(std::move(tokens));
  }
  return list;
}

void CompletionLogprobs::add_token(const AnswerInfo& info, TokenId token) {
  const std::string text = replace_invalid_utf8(info.token_text(token));
  text_offset.push_back(offset);
  offset += num_characters(text);
  tokens.push_back(token_name(info, token));
}

void CompletionLogprobs::add_unscored(const AnswerInfo& info, TokenId token) {
  add_token(info, token);
  token_logprobs.push_back(nullptr);
  top_logprobs.push_back(nullptr);
}

void CompletionLogprobs::add(const AnswerInfo& info, const TokenLogprobs& logprobs) {
  add_token(info, logprobs.chosen.token);
  token_logprobs.push_back(told(logprobs.chosen.logprob));
  Json top = Json::object();
  for (const TokenLogprob& entry : logprobs.top) top[token_name(info, entry.token)] = told(entry.logprob);
  // The one that was taken, too, where it is not among the most likely: one more than was asked for.
  top[token_name(info, logprobs.chosen.token)] = told(logprobs.chosen.logprob);
  top_logprobs.push_back(std::move(top));
}

Json CompletionLogprobs::take() {
  Json lists{{"tokens", std::move(tokens)},
             {"token_logprobs", std::move(token_logprobs)},
             {"top_logprobs", std::move(top_logprobs)},
             {"text_offset", std::move(text_offset)}};
  tokens = token_logprobs = top_logprobs = text_offset = Json::array();
  return lists;
}

Json AnswerBase::envelope(std::string_view object) const {
  return {{"id", info_.id},
          {"object", object},
          {"created", info_.created},
          {"model", info_.model},
          {"system_fingerprint", kFingerprint}};
}

Usage AnswerBase::total_usage() const {
  Usage total;
  for (const Usage& usage : usage_) {
    total.prompt_tokens += usage.prompt_tokens;
    total.completion_tokens += usage.completion_tokens;
    total.cached_tokens += usage.cached_tokens;
    total.reasoning_tokens += usage.reasoning_tokens;
  }
  return total;
}

void AnswerBase::note_completed(int request, const Usage& usage) {
  usage_[request] = usage;
  ++num_completed_;
}

void AnswerBase::note_failed(const Failed& failed) {
  if (!failure_) failure_ = failed;
}

std::string AnswerBase::prompt_text(const Started& started) const {
  std::string bytes;
  for (const TokenId token : started.prompt_tokens) bytes += info_.token_text(token);
  return replace_invalid_utf8(bytes);
}

std::string frame(const Json& payload) { return "data: " + dump_json(payload) + "\n\n"; }

}  // namespace gale
