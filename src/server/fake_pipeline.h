#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "serving/pipeline.h"

namespace gale {

// For tests: a pipeline whose requests the test answers itself. Tokens are bytes.
class FakePipeline final : public Pipeline {
 public:
  struct Request {
    GenerateRequest request;
    Sink sink;
    bool is_cancelled = false;
  };

  Result<std::unique_ptr<RequestHandle>> submit(GenerateRequest request, Sink sink) override {
    const std::lock_guard lock(mutex_);
    if (refusal) return tl::unexpected<Error>(*refusal);
    auto entry = std::make_shared<Request>(Request{std::move(request), std::move(sink)});
    requests_.push_back(entry);
    return std::make_unique<Handle>(*this, std::move(entry));
  }
  int retry_after_s() const override { return 7; }
  std::optional<RateLimit> rate_limit(const std::string&) const override { return std::nullopt; }
  const ServedModel& model() const override { return model_; }
  PipelineStatus status() const override {
    const std::lock_guard lock(mutex_);
    PipelineStatus status;
    status.health = health;
    status.reason = health == Health::kReady ? "" : "test";
    status.stats = stats;
    status.max_model_len = 100;
    status.engine = Ready{.model_name = "fake", .max_model_len = 100, .vocab_size = 256, .hidden_size = 4};
    return status;
  }
  Result<std::vector<TokenId>> tokenize(const PromptInput& prompt) const override {
    const auto* text = std::get_if<TextPrompt>(&prompt);
    if (text == nullptr) return std::vector<TokenId>{1, 2, 3};
    return std::vector<TokenId>(text->text.begin(), text->text.end());
  }
  Result<std::string> detokenize(std::span<const TokenId> tokens) const override {
    return std::string(tokens.begin(), tokens.end());
  }
  std::string token_text(TokenId token) const override { return std::string(1, static_cast<char>(token)); }

  // The i-th request so far; null if there is none.
  [[nodiscard]] std::shared_ptr<Request> request(size_t i) const {
    const std::lock_guard lock(mutex_);
    return i < requests_.size() ? requests_[i] : nullptr;
  }
  [[nodiscard]] bool is_cancelled(size_t i) const {
    const std::lock_guard lock(mutex_);
    return i < requests_.size() && requests_[i]->is_cancelled;
  }
  // The events of an answer of one choice, from the calling thread.
  void answer(size_t i, const std::string& text) const {
    const Sink& sink = request(i)->sink;
    sink(Started{{1, 2, 3}});
    Usage usage{.prompt_tokens = 3};
    for (const char c : text) {
      ++usage.completion_tokens;
      Delta delta{.tokens = {c}, .usage = usage};
      if (request(i)->request.parse_output) delta.parts = {ContentDelta{std::string(1, c)}};
      else delta.text = std::string(1, c);
      sink(std::move(delta));
    }
    sink(Finished{});
    sink(Completed{usage});
  }

  std::optional<Error> refusal;
  Health health = Health::kReady;
  Stats stats;

 private:
  class Handle final : public RequestHandle {
   public:
    Handle(FakePipeline& pipeline, std::shared_ptr<Request> entry) : pipeline_(pipeline), entry_(std::move(entry)) {}
    ~Handle() override {
      const std::lock_guard lock(pipeline_.mutex_);
      entry_->is_cancelled = true;
    }

   private:
    FakePipeline& pipeline_;
    std::shared_ptr<Request> entry_;   // shared with the test
  };

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Request>> requests_;
  ServedModel model_{
      .name = "nano", .aliases = {"org/nano"}, .path = "/secret/path", .max_model_len = 100, .created = 5};
};

}  // namespace gale
