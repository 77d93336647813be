#include "serving/grammar_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <new>

namespace gale {
namespace {

// Says "compiled <tag>"; tags "bad…" are refused, "wait…" wait until they are let go, for "large" there is no memory at
// first.
struct Script {
  std::atomic<int> num_compiled = 0;
  std::atomic<bool> had_no_memory = false;
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
};

class ScriptedCompiler final : public GrammarCompiler {
 public:
  explicit ScriptedCompiler(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  Result<std::string> compile(const std::string& tag) override {
    ++script_->num_compiled;
    if (tag.starts_with("wait")) script_->opened.wait();
    if (tag == "large" && !script_->had_no_memory.exchange(true)) throw std::bad_alloc();
    if (tag.starts_with("bad")) return fail(ErrorCode::kInvalidArgument, "no {}", tag);
    return "compiled " + tag;
  }

 private:
  std::shared_ptr<Script> script_;   // shared with the test and the other compilers
};

class GrammarServiceTest : public testing::Test {
 protected:
  void start(GrammarServiceConfig config = {}) {
    const GrammarCompilerFactory factory = [this](const auto&) { return std::make_unique<ScriptedCompiler>(script_); };
    service_ = std::make_unique<GrammarService>(config, factory, std::make_shared<const Vocabulary>());
  }
  std::future<Result<SharedText>> ask(const std::string& tag) {
    auto promise = std::make_shared<std::promise<Result<SharedText>>>();
    service_->compile(tag, [promise](Result<SharedText> answer) { promise->set_value(std::move(answer)); });
    return promise->get_future();
  }

  std::shared_ptr<Script> script_ = std::make_shared<Script>();
  std::unique_ptr<GrammarService> service_;
};

TEST_F(GrammarServiceTest, compiles_each_grammar_once) {
  start();
  EXPECT_EQ(ask("a").get()->str(), "compiled a");
  EXPECT_EQ(ask("a").get()->str(), "compiled a");
  EXPECT_EQ(ask("b").get()->str(), "compiled b");
  EXPECT_EQ(script_->num_compiled, 2);
}

TEST_F(GrammarServiceTest, remembers_refusals) {
  start();
  EXPECT_EQ(ask("bad").get().error().message, "no bad");
  EXPECT_EQ(ask("bad").get().error().message, "no bad");
  EXPECT_EQ(script_->num_compiled, 1);
}

TEST_F(GrammarServiceTest, a_lack_of_memory_is_told_and_not_remembered) {
  start();
  EXPECT_EQ(ask("large").get().error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(ask("large").get()->str(), "compiled large");
}

TEST_F(GrammarServiceTest, one_slow_grammar_does_not_hold_up_others_and_is_asked_once) {
  start({.num_compilers = 2});
  auto slow = ask("wait"), again = ask("wait");
  EXPECT_EQ(ask("a").get()->str(), "compiled a");
  script_->gate.set_value();
  EXPECT_EQ(slow.get()->str(), "compiled wait");
  EXPECT_EQ(again.get()->str(), "compiled wait");
  EXPECT_EQ(script_->num_compiled, 2);
}

TEST_F(GrammarServiceTest, a_full_queue_is_an_answer) {
  start({.num_compilers = 1, .max_waiting = 1});
  auto running = ask("wait");
  while (script_->num_compiled == 0) std::this_thread::yield();
  auto queued = ask("a");
  EXPECT_EQ(ask("b").get().error().code, ErrorCode::kOverloaded);
  script_->gate.set_value();
  EXPECT_TRUE(running.get() && queued.get());
}

TEST_F(GrammarServiceTest, forgets_what_was_not_asked_for_lately) {
  start({.num_compilers = 1, .max_cached_bytes = 30});
  for (const char* tag : {"aaaaa", "bbbbb", "aaaaa"}) EXPECT_TRUE(ask(tag).get());
  EXPECT_EQ(script_->num_compiled, 3);
}

TEST_F(GrammarServiceTest, stopping_refuses_what_waits) {
  start({.num_compilers = 1});
  auto running = ask("wait");
  while (script_->num_compiled == 0) std::this_thread::yield();
  auto queued = ask("a");
  std::thread stopper([this] { service_->stop(); });
  EXPECT_EQ(queued.get().error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(running.get().error().code, ErrorCode::kUnavailable);
  script_->gate.set_value();
  stopper.join();
  EXPECT_EQ(ask("b").get().error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace gale
