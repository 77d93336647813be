#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "api/answer_parts.h"
#include "api/errors.h"
#include "base/json.h"
#include "base/utf8.h"

namespace gale {
namespace {

template <class... Fs>
struct Overloaded : Fs... { using Fs::operator()...; };

// What chat and completion streams share: envelope, usage, the end.
class StreamWriter : public AnswerBase {
 public:
  StreamWriter(AnswerInfo info, std::string_view object)
      : AnswerBase(std::move(info)), object_(object), head_("data: " + dump_json(envelope(object))) {
    head_.pop_back();                  // the brace: more follows
    head_ += ",\"choices\":[";
  }

  [[nodiscard]] std::string add(int request, const Event& event) override {
    if (is_done()) return "";   // another prompt's events after one failed
    return std::visit(Overloaded{[&](const Started& started) { return on_started(request, started); },
                                 [&](const PromptLogprobs& logprobs) { return on_prompt_logprobs(request, logprobs); },
                                 [&](const Delta& delta) {
                                   usage_[request] = delta.usage;
                                   return on_delta(request, delta);
                                 },
                                 [&](const Finished& finished) { return on_finished(request, finished); },
                                 [](const Pooled&) { return std::string(); },  // embeddings have a writer of their own
                                 [&](const Completed& completed) { return on_completed(request, completed); },
                                 [&](const Failed& failed) { return on_failed(failed); }},
                      event);
  }
  [[nodiscard]] std::string body() const override { return ""; }

 protected:
  virtual std::string on_started(int request, const Started& started) = 0;
  virtual std::string on_prompt_logprobs(int request, const PromptLogprobs& logprobs) = 0;
  virtual std::string on_delta(int request, const Delta& delta) = 0;
  virtual std::string on_finished(int request, const Finished& finished) = 0;

  [[nodiscard]] std::string chunk(const Json& choice) const { return chunk_of(dump_json(choice)); }
  // As text: nearly every token is a chunk, and a tree of JSON for each costs more than all else that is done for it.
  [[nodiscard]] std::string chunk_of(std::string_view choice) const {
    std::string out;
    out.reserve(head_.size() + choice.size() + 32);
    out.append(head_).append(choice).append("]");
    if (info_.options.continuous_usage) {
      out.append(",\"usage\":").append(dump_json(usage_json(total_usage())));
    } else if (info_.options.include_usage) {
      out.append(",\"usage\":null");
    }
    return out.append("}\n\n");
  }

 private:
  std::string on_completed(int request, const Completed& completed) {
    usage_[request] = completed.usage;
    std::string out;
    if (is_last_to_complete()) {
      if (info_.options.include_usage) {
        Json payload = envelope(object_);
        payload["choices"] = Json::array();
        payload["usage"] = usage_json(total_usage());
        out = frame(payload);
      }
      out.append(kDoneFrame);
    }
    note_completed(request, completed.usage);
    return out;
  }
  std::string on_failed(const Failed& failed) {
    std::string out = "data: " + error_body(failed.error) + "\n\n" + std::string(kDoneFrame);
    note_failed(failed);
    return out;
  }

  std::string object_;
  std::string head_;                   // of every chunk, up to its choice
};

class ChatStream final : public StreamWriter {
 public:
  explicit ChatStream(AnswerInfo info) : StreamWriter(std::move(info), "chat.completion.chunk") {}

 private:
  static Json choice_json(int index, Json delta) {
    return {{"index", index}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
  }
  std::string on_started(int, const Started& started) override {
    std::string out;
    for (int i = 0; i < info_.num_choices; ++i) {
      Json choice = choice_json(i, {{"role", "assistant"}, {"content", ""}});
      if (info_.options.return_token_ids && i == 0) choice["prompt_token_ids"] = started.prompt_tokens;
      out += chunk(std::move(choice));
    }
    return out;
  }
  std::string on_prompt_logprobs(int, const PromptLogprobs&) override { return ""; }

  // A chunk of text alone, as most are; nothing where the general way is needed.
  [[nodiscard]] std::optional<std::string> text_chunk(const Delta& delta) const {
    const bool is_plain = delta.parts.size() == 1 && delta.logprobs.empty() && !info_.options.return_token_ids;
    if (!is_plain) return std::nullopt;
    const auto* content = std::get_if<ContentDelta>(&delta.parts[0]);
    const auto* reasoning = std::get_if<ReasoningDelta>(&delta.parts[0]);
    if (content == nullptr && (reasoning == nullptr || !info_.include_reasoning)) return std::nullopt;
    const std::string& text = content != nullptr ? content->text : reasoning->text;
    if (!is_valid_utf8(text)) return std::nullopt;
    std::string choice = fmt::format("{{\"index\":{},\"delta\":{{\"{}\":", delta.choice,
                                     content != nullptr ? "content" : "reasoning_content");
    append_json_string(choice, text);
    choice += "},\"logprobs\":null,\"finish_reason\":null}";
    return chunk_of(choice);
  }

  // The delta of one part; null for reasoning that is not to be shown.
  [[nodiscard]] Json part_json(const ChatDelta& part) const {
    return std::visit(
        Overloaded{[&](const ReasoningDelta& d) {
                     return info_.include_reasoning ? Json{{"reasoning_content", d.text}} : Json(nullptr);
                   },
                   [](const ContentDelta& d) { return Json{{"content", d.text}}; },
                   [](const ToolCallStart& d) {
                     return Json{{"tool_calls", Json::array({{{"index", d.index}, {"id", d.id}, {"type", "function"},
                                                              {"function", {{"name", d.name}, {"arguments", ""}}}}})}};
                   },
                   [](const ToolArgumentsDelta& d) {
                     return Json{{"tool_calls",
                                  Json::array({{{"index", d.index}, {"function", {{"arguments", d.json_piece}}}}})}};
                   }},
        part);
  }
  std::string on_delta(int, const Delta& delta) override {
    if (std::optional<std::string> text = text_chunk(delta)) return *std::move(text);
    std::vector<Json> parts;
    bool hides_reasoning = false;
    for (const ChatDelta& part : delta.parts) {
      Json json = part_json(part);
      hides_reasoning |= json.is_null();
      if (!json.is_null()) parts.push_back(std::move(json));
    }
    // Tokens and logprobs of hidden reasoning stay hidden; a step that holds both kinds shows neither.
    const bool shows_tokens = info_.options.return_token_ids && !delta.tokens.empty() && !hides_reasoning;
    const bool shows_logprobs = !delta.logprobs.empty() && !hides_reasoning;
    if (parts.empty() && (shows_tokens || shows_logprobs)) parts.push_back(Json::object());
    std::string out;
    for (size_t i = 0; i < parts.size(); ++i) {
      Json choice = choice_json(delta.choice, std::move(parts[i]));
      if (i == 0 && shows_logprobs) choice["logprobs"] = chat_logprobs_json(info_, delta.logprobs);
      if (i == 0 && shows_tokens) choice["token_ids"] = delta.tokens;
      out += chunk(std::move(choice));
    }
    return out;
  }
  std::string on_finished(int, const Finished& finished) override {
    Json choice = choice_json(finished.choice, Json::object());
    choice["finish_reason"] = finish_name(finished.reason);
    choice["stop_reason"] = stop_reason_json(finished);
    return chunk(std::move(choice));
  }
};

class CompletionStream final : public StreamWriter {
 public:
  explicit CompletionStream(AnswerInfo info)
      : StreamWriter(std::move(info), "text_completion"),
        logprobs_(info_.num_requests * info_.num_choices),
        prompts_(info_.num_requests) {}

 private:
  static Json choice_json(int index, std::string text) {
    return {{"index", index},
            {"text", std::move(text)},
            {"logprobs", nullptr},
            {"finish_reason", nullptr},
            {"stop_reason", nullptr}};
  }
  // The prompt as the first chunk of each choice of a request; with logprobs if the engine sent any.
  std::string echo_prompt(int request, const PromptLogprobs* scores) {
    if (!info_.echo || prompts_[request].is_echoed) return "";
    prompts_[request].is_echoed = true;
    const Started& started = prompts_[request].started;
    std::string out;
    for (int i = 0; i < info_.num_choices; ++i) {
      const int index = choice_index(request, i);
      Json choice = choice_json(index, prompt_text(started));
      if (scores != nullptr && !started.prompt_tokens.empty()) {
        logprobs_[index].add_unscored(info_, started.prompt_tokens.front());
        for (const TokenLogprobs& entry : scores->tokens) logprobs_[index].add(info_, entry);
        choice["logprobs"] = logprobs_[index].take();
      }
      out += chunk(std::move(choice));
    }
    return out;
  }
  std::string on_started(int request, const Started& started) override {
    prompts_[request].started = started;
    return "";
  }
  std::string on_prompt_logprobs(int request, const PromptLogprobs& scores) override {
    return echo_prompt(request, &scores);
  }
  std::string on_delta(int request, const Delta& delta) override {
    std::string out = echo_prompt(request, nullptr);   // without prompt logprobs the echo waits for the first delta
    const bool shows_tokens = info_.options.return_token_ids && !delta.tokens.empty();
    if (delta.text.empty() && delta.logprobs.empty() && !shows_tokens) return out;
    const int index = choice_index(request, delta.choice);
    const bool is_plain = delta.logprobs.empty() && logprobs_[index].is_empty() && !shows_tokens;
    if (is_plain && is_valid_utf8(delta.text)) {
      std::string choice = fmt::format("{{\"index\":{},\"text\":", index);
      append_json_string(choice, delta.text);
      choice += R"(,"logprobs":null,"finish_reason":null,"stop_reason":null})";
      return out + chunk_of(choice);
    }
    Json choice = choice_json(index, delta.text);
    for (const TokenLogprobs& entry : delta.logprobs) logprobs_[index].add(info_, entry);
    if (!logprobs_[index].is_empty()) choice["logprobs"] = logprobs_[index].take();
    if (shows_tokens) {
      choice["token_ids"] = delta.tokens;
      if (!std::exchange(prompts_[request].ids_are_sent, true))
        choice["prompt_token_ids"] = prompts_[request].started.prompt_tokens;
    }
    return out + chunk(std::move(choice));
  }
  std::string on_finished(int request, const Finished& finished) override {
    Json choice = choice_json(choice_index(request, finished.choice), "");
    choice["finish_reason"] = finish_name(finished.reason);
    choice["stop_reason"] = stop_reason_json(finished);
    return echo_prompt(request, nullptr) + chunk(std::move(choice));
  }

  struct Prompt { Started started; bool is_echoed = false; bool ids_are_sent = false; };
  std::vector<CompletionLogprobs> logprobs_;   // of each choice
  std::vector<Prompt> prompts_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_chat_stream(AnswerInfo info) {
  return std::make_unique<ChatStream>(std::move(info));
}
std::unique_ptr<AnswerWriter> make_completion_stream(AnswerInfo info) {
  return std::make_unique<CompletionStream>(std::move(info));
}

}  // namespace gale
