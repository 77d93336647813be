#pragma once

#include <map>
#include <span>
#include <string>

#include "api/answer.h"

namespace gale {

[[nodiscard]] Json usage_json(const Usage& usage);
[[nodiscard]] std::string_view finish_name(ChoiceFinish reason);
[[nodiscard]] Json stop_reason_json(const Finished& finished);
// {"content": [{token, logprob, bytes, top_logprobs}]}
[[nodiscard]] Json chat_logprobs_json(const AnswerInfo& info, std::span<const TokenLogprobs> logprobs);

// vLLM's: null for the first token, then for each token {id: {logprob, rank, decoded_token}} of it and the best.
[[nodiscard]] Json prompt_logprobs_json(const AnswerInfo& info, std::span<const TokenLogprobs> logprobs);

// The four parallel lists of /v1/completions.
struct CompletionLogprobs {
  Json tokens = Json::array(), token_logprobs = Json::array(), top_logprobs = Json::array(),
       text_offset = Json::array();
  int64_t offset = 0;                             // characters of text so far
  void add_unscored(const AnswerInfo& info, TokenId token);   // a prompt's first token has no logprob
  void add(const AnswerInfo& info, const TokenLogprobs& logprobs);
  [[nodiscard]] Json take();                      // the lists so far, which start anew; offsets go on
  [[nodiscard]] bool is_empty() const { return tokens.empty(); }

 private:
  void add_token(const AnswerInfo& info, TokenId token);
};

// What chunks and bodies have in common: identity, and when everything has been said.
class AnswerBase : public AnswerWriter {
 public:
  explicit AnswerBase(AnswerInfo info) : info_(std::move(info)), usage_(info_.num_requests) {}
  [[nodiscard]] bool is_done() const override { return failure_ || num_completed_ == info_.num_requests; }
  [[nodiscard]] const std::optional<Failed>& failure() const override { return failure_; }

 protected:
  // {"id", "object", "created", "model", "system_fingerprint"} followed by what the caller adds.
  [[nodiscard]] Json envelope(std::string_view object) const;
  [[nodiscard]] Usage total_usage() const;
  // To be noted when what is said of it is ready: if there is no memory for that, the answer is not done.
  void note_completed(int request, const Usage& usage);
  void note_failed(const Failed& failed);
  [[nodiscard]] bool is_last_to_complete() const { return num_completed_ + 1 == info_.num_requests; }
  [[nodiscard]] int choice_index(int request, int choice) const { return request * info_.num_choices + choice; }
  // The prompt as text, for echo.
  [[nodiscard]] std::string prompt_text(const Started& started) const;

  AnswerInfo info_;
  std::vector<Usage> usage_;                      // of each request, as far as known
  int num_completed_ = 0;
  std::optional<Failed> failure_;
};

// "data: {json}\n\n"
[[nodiscard]] std::string frame(const Json& payload);
inline constexpr std::string_view kDoneFrame = "data: [DONE]\n\n";

}  // namespace gale
