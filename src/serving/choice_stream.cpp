#include "serving/choice_stream.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

// Appends to the last part if it is of the same kind and place, so that one step is told in few words.
void add_part(std::vector<ChatDelta>& parts, ChatDelta part) {
  if (!parts.empty()) {
    ChatDelta& last = parts.back();
    if (auto *a = std::get_if<ReasoningDelta>(&last), *b = std::get_if<ReasoningDelta>(&part); a && b) {
      a->text += b->text;
      return;
    }
    if (auto *a = std::get_if<ContentDelta>(&last), *b = std::get_if<ContentDelta>(&part); a && b) {
      a->text += b->text;
      return;
    }
    auto *a = std::get_if<ToolArgumentsDelta>(&last), *b = std::get_if<ToolArgumentsDelta>(&part);
    if (a && b && a->index == b->index) {
      a->json_piece += b->json_piece;
      return;
    }
  }
  parts.push_back(std::move(part));
}

}  // namespace

ChoiceStream::ChoiceStream(const Tokenizer& tokenizer, const OutputFormat& format, ChoiceOptions options)
    : options_(std::move(options)),
      detokenizer_(std::make_unique<Detokenizer>(tokenizer, options_.skip_special_tokens)),
      matcher_(options_.stop_strings, options_.include_stop_str_in_output) {
  if (options_.parser) parser_.emplace(format, *options_.parser);
}

ChoiceStream::~ChoiceStream() = default;

int ChoiceStream::num_reasoning_tokens() const { return parser_ ? parser_->num_reasoning_tokens() : 0; }

ChoiceStep ChoiceStream::append(SequenceOutput output) {
  CHECK(!is_finished_, "output after the end of a choice");
  ChoiceStep step;
  Delta& delta = step.delta;
  for (size_t i = 0; i < output.tokens.size() && !was_cut(); ++i) {
    std::optional<TokenLogprobs> logprobs;
    if (i < output.logprobs.size()) logprobs = std::move(output.logprobs[i]);
    held_tokens_.push_back({output.tokens[i], std::move(logprobs), 0});
    take_token(output.tokens[i], output.stop_token && i + 1 == output.tokens.size(), delta);
  }
  if (output.finish && !was_cut()) finish_text(delta);
  is_finished_ = output.finish || was_cut();
  release_tokens(delta, is_finished_);
  if (is_finished_) step.finished = finished_by(output);
  step.has_output = !delta.text.empty() || !delta.parts.empty() || !delta.tokens.empty();
  return step;
}

void ChoiceStream::take_token(TokenId token, bool is_stop_token, Delta& delta) {
  ++num_tokens_;
  if (!is_stop_token || options_.include_stop_str_in_output) take_text(token, detokenizer_->append(token), delta);
  held_tokens_.back().text_end = num_matched_bytes_;
}

void ChoiceStream::take_text(TokenId token, std::string_view text, Delta& delta) {
  if (!parser_) return take_content(text, delta);
  for (ChatDelta& part : parser_->append(token, text)) take_part(std::move(part), delta);
}

void ChoiceStream::take_part(ChatDelta part, Delta& delta) {
  if (was_cut()) return;
  if (const auto* content = std::get_if<ContentDelta>(&part)) return take_content(content->text, delta);
  add_content(matcher_.flush(), delta);   // a stop string does not reach over a call
  add_part(delta.parts, std::move(part));
}

void ChoiceStream::take_content(std::string_view text, Delta& delta) {
  num_matched_bytes_ += text.size();
  if (num_tokens_ <= options_.min_tokens) {
    add_content(std::string(text), delta);
  } else {
    add_content(matcher_.append(text), delta);
  }
}

void ChoiceStream::add_content(std::string text, Delta& delta) {
  if (text.empty()) return;
  if (parser_) {
    add_part(delta.parts, ContentDelta{std::move(text)});
  } else {
    delta.text += text;
  }
}

void ChoiceStream::finish_text(Delta& delta) {
  if (const std::string rest = detokenizer_->finish(); !rest.empty()) take_text(kNoToken, rest, delta);
  if (parser_) {
    for (ChatDelta& part : parser_->finish()) take_part(std::move(part), delta);
  }
  if (!was_cut()) add_content(matcher_.flush(), delta);
}

void ChoiceStream::release_tokens(Delta& delta, bool all) {
  const size_t certain = num_matched_bytes_ - matcher_.num_held_bytes();
  while (!held_tokens_.empty() && (all || held_tokens_.front().text_end <= certain)) {
    HeldToken& held = held_tokens_.front();
    delta.tokens.push_back(held.token);
    if (held.logprobs) delta.logprobs.push_back(std::move(*held.logprobs));
    held_tokens_.pop_front();
  }
}

Finished ChoiceStream::finished_by(const SequenceOutput& output) const {
  Finished finished;
  const auto& reported = options_.reported_stop_ids;
  if (was_cut()) {
    finished.stop_reason = *matcher_.match();
  } else if (output.finish == FinishReason::kLength) {
    finished.reason = ChoiceFinish::kLength;
  } else if (output.stop_token && std::find(reported.begin(), reported.end(), *output.stop_token) != reported.end()) {
    finished.stop_reason = *output.stop_token;
  }
  const bool made_calls = parser_ && parser_->made_tool_calls();
  if (finished.reason == ChoiceFinish::kStop && made_calls && !options_.was_told_to_call)
    finished.reason = ChoiceFinish::kToolCalls;
  return finished;
}

}  // namespace gale
