#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "serving/engine_pipeline.h"
#include "serving/fake_engine.h"
#include "tokenizer/tokenizer.h"

// For tests: the built-in model's tokenizer and template, a pipeline over fake engines, a client that listens.
namespace gale {

inline const std::string kModelDir = std::string(GALE_SOURCE_DIR) + "/models/nano-flash";
inline constexpr std::chrono::seconds kLongEnough{120};

template <class Condition>
[[nodiscard]] bool wait_until(Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + kLongEnough;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

[[nodiscard]] inline std::unique_ptr<Tokenizer> load_tokenizer() {
  auto tokenizer = Tokenizer::load(kModelDir + "/tokenizer.json");
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return std::move(*tokenizer);
}

// What one choice was told.
struct ChoiceRecord {
  std::string text, reasoning, content, arguments;
  std::vector<std::string> calls;
  std::vector<TokenId> tokens;
  size_t num_logprobs = 0;
  std::optional<Finished> finished;
};

// A sink that takes part: it checks the order of events, and waits for the end.
class Client {
 public:
  [[nodiscard]] Sink sink() {
    return [this](Event event) { take(std::move(event)); };
  }

  void wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLongEnough, [this] { return usage_ || failed_; })) << "no end came";
  }
  void wait_for_tokens(size_t num_tokens) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLongEnough,
                                  [&] { return usage_ || failed_ || choices_[0].tokens.size() >= num_tokens; }));
  }
  [[nodiscard]] std::map<int, ChoiceRecord> choices() const { return locked(choices_); }
  [[nodiscard]] std::optional<Failed> failed() const { return locked(failed_); }
  [[nodiscard]] std::optional<Usage> usage() const { return locked(usage_); }
  [[nodiscard]] RequestTimes times() const { return locked(times_); }
  [[nodiscard]] std::map<int, std::vector<float>> pooled() const { return locked(pooled_); }
  [[nodiscard]] size_t num_events() const { return locked(num_events_); }
  [[nodiscard]] std::vector<TokenId> prompt() const { return locked(prompt_); }
  [[nodiscard]] std::optional<size_t> num_prompt_logprobs() const { return locked(num_prompt_logprobs_); }

 private:
  template <class T>
  T locked(const T& value) const {
    std::lock_guard lock(mutex_);
    return value;
  }

  void take(Event event) {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(usage_ || failed_) << "an event after the end";
    ++num_events_;
    std::visit([this](auto& kind) { note(kind); }, event);
    changed_.notify_all();
  }
  void note(Started& started) {
    EXPECT_EQ(num_events_, 1U);
    prompt_ = std::move(started.prompt_tokens);
  }
  void note(PromptLogprobs& logprobs) {
    EXPECT_EQ(num_events_, 2U);
    num_prompt_logprobs_ = logprobs.tokens.size();
  }
  void note(Delta& delta) {
    ChoiceRecord& choice = choices_[delta.choice];
    EXPECT_FALSE(choice.finished);
    choice.text += delta.text;
    choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    choice.num_logprobs += delta.logprobs.size();
    for (ChatDelta& part : delta.parts) std::visit([&](auto& kind) { note(choice, kind); }, part);
  }
  static void note(ChoiceRecord& choice, ReasoningDelta& part) { choice.reasoning += part.text; }
  static void note(ChoiceRecord& choice, ContentDelta& part) { choice.content += part.text; }
  static void note(ChoiceRecord& choice, ToolCallStart& part) { choice.calls.push_back(part.name); }
  static void note(ChoiceRecord& choice, ToolArgumentsDelta& part) { choice.arguments += part.json_piece; }
  void note(Finished& finished) {
    EXPECT_FALSE(choices_[finished.choice].finished) << "finished twice";
    choices_[finished.choice].finished = std::move(finished);
  }
  void note(Pooled& pooled) { pooled_[pooled.input] = std::move(pooled.vector); }
  void note(Completed& completed) {
    usage_ = completed.usage;
    times_ = completed.times;
  }
  void note(Failed& failed) { failed_ = std::move(failed); }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, ChoiceRecord> choices_;
  std::vector<TokenId> prompt_;
  std::map<int, std::vector<float>> pooled_;
  std::optional<size_t> num_prompt_logprobs_;
  std::optional<Usage> usage_;
  RequestTimes times_;
  std::optional<Failed> failed_;
  size_t num_events_ = 0;
};

// Time that passes only when a test says so, on whatever thread.
class SharedClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return TimePoint(Duration(now_)); }
  void advance(Duration by) { now_ += by.count(); }

 private:
  std::atomic<Duration::rep> now_ = 0;
};

class PipelineTest : public testing::Test {
 protected:
  PipelineTest() {
    config_.supervisor.poll = std::chrono::milliseconds(2);
    config_.supervisor.restart.first_backoff = std::chrono::milliseconds(2);
    config_.supervisor.restart.max_backoff = std::chrono::milliseconds(20);
  }

  // Starts the pipeline over what engine_ and config_ say; does not wait for the engine.
  void start() {
    auto chat_template = ChatTemplate::load(kModelDir);
    ASSERT_TRUE(chat_template.has_value()) << chat_template.error().message;
    record_ = std::make_shared<Guarded<FakeRecord>>();
    pipeline_ = make_pipeline(config_, load_tokenizer(), std::move(*chat_template),
                              GenerationDefaults{.temperature = 0.3F, .eos_token_ids = {8128}}, *clock_,
                              fake_launcher(engine_, record_));
  }
  void start_and_wait() {
    start();
    ASSERT_TRUE(wait_until([this] { return health() == Health::kReady; }));
  }

  [[nodiscard]] static GenerateRequest request(int max_tokens) {
    return {.prompt = TokenPrompt{{1, 2, 3, 4, 5}}, .sampling = {.seed = 11}, .max_tokens = max_tokens};
  }
  [[nodiscard]] std::unique_ptr<RequestHandle> submit(GenerateRequest request, Client& client) {
    auto handle = pipeline_->submit(std::move(request), client.sink());
    EXPECT_TRUE(handle.has_value()) << handle.error().message;
    return handle ? std::move(*handle) : nullptr;
  }
  void run(GenerateRequest request, Client& client) {
    const auto handle = submit(std::move(request), client);
    client.wait();
  }
  [[nodiscard]] Health health() const { return pipeline_->status().health; }
  [[nodiscard]] FakeRecord record() const {
    return record_->with([](const FakeRecord& record) { return record; });
  }

  const SteadyClock steady_clock_;
  const Clock* clock_ = &steady_clock_;           // a test may set its own before the start
  PipelineConfig config_;
  FakeEngineConfig engine_;
  std::shared_ptr<Guarded<FakeRecord>> record_;   // shared with the engines' threads
  std::unique_ptr<EnginePipeline> pipeline_;
};

}  // namespace gale
