#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "api/answer_parts.h"

namespace gale {
namespace {

struct ToolCall { std::string id, name, arguments; };

struct Choice {
  std::string text, reasoning;          // text: content of a chat
  std::vector<ToolCall> calls;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;
  Finished finished;
};

// Gathers everything; chat and completions differ in how a choice is written down.
class WholeAnswer : public AnswerBase {
 public:
  explicit WholeAnswer(AnswerInfo info)
      : AnswerBase(std::move(info)),
        choices_(info_.num_requests * info_.num_choices),
        started_(info_.num_requests),
        prompt_logprobs_(info_.num_requests) {}

  [[nodiscard]] std::string add(int request, const Event& event) override {
    if (const auto* started = std::get_if<Started>(&event)) started_[request] = *started;
    if (const auto* scores = std::get_if<PromptLogprobs>(&event)) prompt_logprobs_[request] = *scores;
    if (const auto* delta = std::get_if<Delta>(&event))
      add_delta(choices_[choice_index(request, delta->choice)], *delta);
    if (const auto* finished = std::get_if<Finished>(&event))
      choices_[choice_index(request, finished->choice)].finished = *finished;
    if (const auto* completed = std::get_if<Completed>(&event)) note_completed(request, completed->usage);
    if (const auto* failed = std::get_if<Failed>(&event)) note_failed(*failed);
    return "";
  }

  [[nodiscard]] std::string body() const override {
    Json answer = envelope(object_name());
    answer["choices"] = Json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      const int request = static_cast<int>(i) / info_.num_choices;
      Json choice = choice_json(request, choices_[i]);
      choice["index"] = i;
      choice["finish_reason"] = finish_name(choices_[i].finished.reason);
      choice["stop_reason"] = stop_reason_json(choices_[i].finished);
      if (info_.options.return_token_ids) {
        choice["token_ids"] = choices_[i].tokens;
        choice["prompt_token_ids"] = started_[request].prompt_tokens;
      }
      answer["choices"].push_back(std::move(choice));
    }
    if (info_.options.tells_prompt_logprobs) add_prompt_logprobs(answer);
    answer["usage"] = usage_json(total_usage());
    return dump_json(answer);
  }

 protected:
  [[nodiscard]] virtual std::string_view object_name() const = 0;
  [[nodiscard]] virtual Json choice_json(int request, const Choice& choice) const = 0;
  virtual void add_prompt_logprobs(Json& answer) const = 0;

  // Of a prompt's tokens behind the first.
  [[nodiscard]] std::span<const TokenLogprobs> scores_of(int request) const {
    const std::optional<PromptLogprobs>& scores = prompt_logprobs_[request];
    return scores ? std::span(scores->tokens) : std::span<const TokenLogprobs>();
  }

  std::vector<Choice> choices_;
  std::vector<Started> started_;
  std::vector<std::optional<PromptLogprobs>> prompt_logprobs_;

 private:
  void add_delta(Choice& choice, const Delta& delta) const {
    choice.text += delta.text;
    bool hides_reasoning = false;
    for (const ChatDelta& part : delta.parts) {
      if (const auto* content = std::get_if<ContentDelta>(&part)) choice.text += content->text;
      if (const auto* start = std::get_if<ToolCallStart>(&part)) choice.calls.push_back({start->id, start->name, ""});
      if (const auto* piece = std::get_if<ToolArgumentsDelta>(&part))
        choice.calls.at(piece->index).arguments += piece->json_piece;
      const auto* reasoning = std::get_if<ReasoningDelta>(&part);
      if (reasoning == nullptr) continue;
      if (info_.include_reasoning) choice.reasoning += reasoning->text;
      hides_reasoning |= !info_.include_reasoning;
    }
    if (hides_reasoning) return;   // its tokens and logprobs stay hidden with it
    choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    choice.logprobs.insert(choice.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
  }
};

class ChatAnswer final : public WholeAnswer {
 public:
  using WholeAnswer::WholeAnswer;

 private:
  [[nodiscard]] std::string_view object_name() const override { return "chat.completion"; }
  [[nodiscard]] Json choice_json(int, const Choice& choice) const override {
    Json message{{"role", "assistant"}};
    message["content"] = choice.text.empty() && !choice.calls.empty() ? Json(nullptr) : Json(choice.text);
    if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
    for (const ToolCall& call : choice.calls)
      message["tool_calls"].push_back(
          {{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    Json json{{"message", std::move(message)}};
    json["logprobs"] = choice.logprobs.empty() ? Json(nullptr) : chat_logprobs_json(info_, choice.logprobs);
    return json;
  }
  void add_prompt_logprobs(Json& answer) const override {
    answer["prompt_logprobs"] = prompt_logprobs_json(info_, scores_of(0));
  }
};

class CompletionAnswer final : public WholeAnswer {
 public:
  using WholeAnswer::WholeAnswer;

 private:
  [[nodiscard]] std::string_view object_name() const override { return "text_completion"; }
  [[nodiscard]] Json choice_json(int request, const Choice& choice) const override {
    const Started& started = started_[request];
    Json json{{"text", (info_.echo ? prompt_text(started) : "") + choice.text}};
    CompletionLogprobs lists;
    if (info_.echo && prompt_logprobs_[request] && !info_.options.tells_prompt_logprobs) {
      lists.add_unscored(info_, started.prompt_tokens.front());
      for (const TokenLogprobs& entry : scores_of(request)) lists.add(info_, entry);
    }
    for (const TokenLogprobs& entry : choice.logprobs) lists.add(info_, entry);
    json["logprobs"] = lists.is_empty() ? Json(nullptr) : lists.take();
    return json;
  }
  void add_prompt_logprobs(Json& answer) const override {
    for (size_t i = 0; i < choices_.size(); ++i)
      answer["choices"][i]["prompt_logprobs"] =
          prompt_logprobs_json(info_, scores_of(static_cast<int>(i) / info_.num_choices));
  }
};

}  // namespace

std::unique_ptr<AnswerWriter> make_chat_answer(AnswerInfo info) {
  return std::make_unique<ChatAnswer>(std::move(info));
}
std::unique_ptr<AnswerWriter> make_completion_answer(AnswerInfo info) {
  return std::make_unique<CompletionAnswer>(std::move(info));
}

}  // namespace gale
