#include "engine/engine_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <functional>
#include <map>
#include <thread>

#include "base/temp_folder_testing.h"
#include "engine/engine.h"
#include "engine/scripted_executor.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// A scripted engine on its own thread, and the front's end of its channel.
class EngineLoopTest : public testing::Test {
 protected:
  void start(const std::string& script, EngineConfig config = {}) {
    Result<Script> parsed = parse_script(script);
    ASSERT_TRUE(parsed) << parsed.error().message;
    auto executor =
        make_scripted_executor(std::move(*parsed), config, [](Duration time) { std::this_thread::sleep_for(time); });
    ASSERT_TRUE(executor) << executor.error().message;
    executor_ = std::move(*executor);
    channel_ = make_in_process_channel();
    thread_ = std::jthread([this, config] { exit_code_ = run_engine(*channel_.engine, *executor_, config); });
  }
  void TearDown() override { leave(); }

  // Closes the front's end and waits until the engine has left.
  void leave() {
    channel_.front.reset();
    if (thread_.joinable()) thread_.join();
  }
  void send(const ToEngine& message) { ASSERT_TRUE(channel_.front->send(message)); }
  void submit(uint64_t id, std::vector<TokenId> prompt, int max_tokens, std::vector<TokenId> output = {}) {
    Submit submit{.id = {id}, .prompt = std::move(prompt), .output = std::move(output)};
    submit.stop = {.stop_token_ids = {2}, .max_tokens = max_tokens};
    send(submit);
  }

  // Reads until `done`, or fails after a minute.
  void read_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the engine said too little";
      const auto messages = channel_.front->receive(milliseconds(100));
      if (!messages) return;
      for (const ToFront& message : *messages) std::visit([this](const auto& m) { take(m); }, message);
    }
  }
  void read_until_finished(size_t count) {
    read_until([&] { return finished_ >= count; });
  }
  void take(const Ready& ready) { ready_ = ready; }
  void take(const Stats& stats) { stats_.push_back(stats); }
  void take(const Fault& fault) { fault_ = fault; }
  void take(const StepOutput& step) {
    for (const SequenceOutput& output : step.sequences) {
      SequenceOutput& all = outputs_[output.id.value];
      if (output.tokens.empty() && !output.finish) places_[output.id.value] += output.num_cached_tokens ? 'r' : 'w';
      EXPECT_FALSE(all.finish) << "something came after the finish";
      all.tokens.insert(all.tokens.end(), output.tokens.begin(), output.tokens.end());
      all.finish = output.finish;
      all.error = output.error;
      finished_ += output.finish ? 1 : 0;
    }
  }
  // The next statistics that are sent from now on.
  Stats next_stats() {
    const size_t before = stats_.size();
    read_until([&] { return stats_.size() > before; });
    return stats_.empty() ? Stats{} : stats_.back();
  }

  std::unique_ptr<Executor> executor_;
  InProcessChannel channel_;
  std::jthread thread_;
  int exit_code_ = -1;
  std::optional<Ready> ready_;
  std::optional<Fault> fault_;
  std::vector<Stats> stats_;
  std::map<uint64_t, std::string> places_;   // of each sequence: waits, runs
  std::map<uint64_t, SequenceOutput> outputs_;
  size_t finished_ = 0;
};

constexpr const char* kThreeTokens = R"({"default": {"tokens": [10, 11, 12]}})";
constexpr const char* kEndless = R"({"step_ms": 1, "default": {"tokens": [10], "repeat": 0}})";

TEST_F(EngineLoopTest, says_what_it_is_then_answers) {
  start(kThreeTokens);
  submit(1, {5, 6, 7}, 100);
  read_until_finished(1);
  ASSERT_TRUE(ready_);
  EXPECT_EQ(ready_->model_name, "scripted");
  EXPECT_EQ(ready_->max_model_len, 4096);
  EXPECT_EQ(ready_->block_size, 16);
  EXPECT_EQ(outputs_[1].tokens, (std::vector<TokenId>{10, 11, 12, 2}));
  EXPECT_EQ(outputs_[1].finish, FinishReason::kStop);
}

TEST_F(EngineLoopTest, tells_who_waits_and_who_runs_before_it_computes) {
  EngineConfig config;
  config.scheduler.max_num_seqs = 1;
  start(kEndless, config);
  submit(1, {5, 6, 7}, 4000);
  submit(2, {5, 6, 7}, 1);
  read_until([this] { return !places_[2].empty(); });
  send(Cancel{{1}});
  read_until_finished(2);
  EXPECT_EQ(places_[1], "r");
  EXPECT_EQ(places_[2], "wr");
}

TEST_F(EngineLoopTest, echoes_prompts_and_goes_on_behind_a_given_output) {
  start(R"({"default": {"echo_prompt": true, "repeat": 2}})");
  submit(1, {5, 6, 7}, 100);
  submit(2, {5, 6, 7}, 100, {5, 6, 7, 5});
  read_until_finished(2);
  EXPECT_EQ(outputs_[1].tokens, (std::vector<TokenId>{5, 6, 7, 5, 6, 7, 2}));
  EXPECT_EQ(outputs_[2].tokens, (std::vector<TokenId>{6, 7, 2}));
}

TEST_F(EngineLoopTest, picks_replies_by_order_length_and_content) {
  start(R"({"default": {"tokens": [10]}, "requests": [{"order": 0, "tokens": [20]},
            {"prompt_contains": [8, 9], "tokens": [30]}, {"prompt_length": 5, "tokens": [40]}]})");
  submit(1, {1}, 1);
  read_until_finished(1);
  submit(2, {7, 8, 9}, 1);
  submit(3, {1, 2, 3, 4, 5}, 1);
  submit(4, {8, 1, 9}, 1);
  read_until_finished(4);
  EXPECT_EQ(outputs_[1].tokens.at(0), 20);
  EXPECT_EQ(outputs_[2].tokens.at(0), 30);
  EXPECT_EQ(outputs_[3].tokens.at(0), 40);
  EXPECT_EQ(outputs_[4].tokens.at(0), 10);
}

TEST_F(EngineLoopTest, beats_at_least_twice_a_second_while_idle) {
  start(kThreeTokens);
  std::chrono::steady_clock::duration fastest = std::chrono::minutes(1);   // of some: the machine may be busy
  for (int i = 0; i < 20 && fastest >= milliseconds(1500); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    read_until([&, wanted = stats_.size() + 4] { return stats_.size() >= wanted; });
    fastest = std::min(fastest, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LT(fastest, milliseconds(1500));
}

// Takes a second for a step, and tells that it is alive meanwhile.
class SlowExecutor final : public Executor {
 public:
  SlowExecutor() : info_{.model_name = "slow", .vocab_size = 100, .scheduler = SchedulerConfig{}} {
    info_.scheduler.max_model_len = 100;
    info_.scheduler.block_size = 16;
    info_.scheduler.num_blocks = 10;
  }
  [[nodiscard]] const Info& info() const override { return info_; }
  [[nodiscard]] Result<std::vector<SequenceResult>> execute(const Plan& plan, const Scheduler&) override {
    for (int i = 0; i < 10; ++i) {
      std::this_thread::sleep_for(milliseconds(100));
      tell_progress();
    }
    std::vector<SequenceResult> results(plan.sequences.size());
    for (SequenceResult& result : results) result.tokens = {2};
    return results;
  }

 private:
  Info info_;
};

TEST_F(EngineLoopTest, beats_during_a_long_step) {
  executor_ = std::make_unique<SlowExecutor>();
  channel_ = make_in_process_channel();
  thread_ = std::jthread([this] { exit_code_ = run_engine(*channel_.engine, *executor_, EngineConfig{}); });
  submit(1, {5}, 1);
  read_until_finished(1);
  EXPECT_GE(stats_.size(), 3u);
}

TEST_F(EngineLoopTest, cancel_ends_a_running_sequence_and_frees_its_blocks) {
  start(kEndless);
  submit(1, {5, 6, 7}, 4000);
  read_until([&] { return outputs_[1].tokens.size() > 3; });
  send(Cancel{{1}});
  send(Cancel{{99}});
  read_until_finished(1);
  EXPECT_EQ(outputs_[1].finish, FinishReason::kCancelled);
  send(Control{ControlCommand::kCheckIntegrity});
  const Stats stats = next_stats();
  EXPECT_EQ(stats.num_running, 0);
  EXPECT_EQ(stats.num_free_blocks, stats.num_blocks);
  EXPECT_EQ(stats.num_leaked_blocks, 0U);
}

TEST_F(EngineLoopTest, one_failed_sequence_is_counted_and_the_others_live) {
  start(R"({"step_ms": 1, "default": {"tokens": [10], "repeat": 20},
            "faults": [{"kind": "nan", "prompt_contains": [66], "after_output": 2}]})");
  submit(1, {5}, 100);
  submit(2, {66}, 100);
  submit(3, {7}, 100);
  read_until_finished(3);
  EXPECT_EQ(outputs_[2].error->code, ErrorCode::kInternal);
  EXPECT_EQ(outputs_[2].tokens.size(), 2u);
  for (const uint64_t id : {1, 3}) EXPECT_EQ(outputs_[id].finish, FinishReason::kStop) << id;
  send(Control{ControlCommand::kCheckIntegrity});
  EXPECT_EQ(next_stats().num_failures, 1u);
}

TEST_F(EngineLoopTest, warns_once_when_the_cache_is_nearly_full_and_everybody_finishes) {
  EngineConfig config;
  config.scheduler = {.max_model_len = 64, .block_size = 4, .num_blocks = 20};
  start(R"({"step_ms": 10, "default": {"tokens": [10], "repeat": 40}})", config);   // slowly, so that all of them meet
  submit(1, {5}, 100);
  read_until_finished(1);
  EXPECT_EQ(next_stats().num_kv_warnings, 0u) << "11 of 20 blocks";
  for (uint64_t id = 2; id < 6; ++id) submit(id, {5, static_cast<TokenId>(id)}, 100);   // 44 blocks wanted
  read_until_finished(5);
  for (uint64_t id = 2; id < 6; ++id) EXPECT_EQ(outputs_[id].finish, FinishReason::kStop) << id;
  send(Control{ControlCommand::kCheckIntegrity});
  const Stats stats = next_stats();
  EXPECT_GE(stats.num_kv_warnings, 1u);
  EXPECT_LE(stats.num_kv_warnings, 4u) << "a warning a crowd, not a step";
  EXPECT_GE(stats.num_preemptions, 1u);
}

TEST_F(EngineLoopTest, refuses_what_can_never_run_and_says_why) {
  EngineConfig config;
  config.scheduler = {.max_model_len = 64, .block_size = 4, .num_blocks = 16};
  start(kThreeTokens, config);
  submit(1, {}, 5);
  submit(2, std::vector<TokenId>(64, 7), 5);
  submit(3, {1'000'000}, 5);
  submit(4, {5}, 1'000'000);
  read_until_finished(4);
  EXPECT_EQ(outputs_[1].error->code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(outputs_[2].error->code, ErrorCode::kContextLength);
  EXPECT_THAT(outputs_[3].error->message, HasSubstr("token id 1000000"));
  EXPECT_EQ(outputs_[4].finish, FinishReason::kStop) << "max_model_len bounds it";
}

TEST_F(EngineLoopTest, draining_finishes_what_it_has_and_takes_nothing_new) {
  start(R"({"step_ms": 5, "default": {"tokens": [10], "repeat": 20}})");
  submit(1, {5}, 100);
  read_until([&] { return !outputs_[1].tokens.empty(); });
  send(Control{ControlCommand::kDrain});
  submit(2, {5}, 100);
  read_until_finished(2);
  EXPECT_EQ(outputs_[1].finish, FinishReason::kStop);
  EXPECT_EQ(outputs_[2].error->code, ErrorCode::kUnavailable);
  (void)next_stats();
  EXPECT_EQ(exit_code_, -1) << "it idles on";
}

TEST_F(EngineLoopTest, leaves_with_zero_when_the_channel_closes_under_work) {
  start(kEndless);
  submit(1, {5}, 4000);
  read_until([&] { return !outputs_[1].tokens.empty(); });
  leave();
  EXPECT_EQ(exit_code_, 0);
}

TEST_F(EngineLoopTest, a_lost_device_is_a_fault_and_the_end) {
  start(R"({"default": {"tokens": [10], "repeat": 0}, "faults": [{"kind": "fail", "at_token": 3}]})");
  submit(1, {5}, 100);
  read_until([&] { return fault_.has_value(); });
  leave();
  ASSERT_TRUE(fault_);
  EXPECT_THAT(fault_->error.message, HasSubstr("device is gone"));
  EXPECT_EQ(outputs_[1].tokens.size(), 2U);
  EXPECT_EQ(exit_code_, 70);
}

TEST_F(EngineLoopTest, a_sequence_that_is_not_a_number_fails_alone) {
  start(R"({"default": {"tokens": [10], "repeat": 9},
            "faults": [{"kind": "nan", "prompt_contains": [66], "after_output": 2}]})");
  submit(1, {5}, 100);
  submit(2, {66}, 100);
  read_until_finished(2);
  EXPECT_EQ(outputs_[1].finish, FinishReason::kStop);
  EXPECT_EQ(outputs_[2].finish, FinishReason::kError);
  EXPECT_EQ(outputs_[2].tokens.size(), 2U);
}

TEST_F(EngineLoopTest, a_marker_lets_a_fault_happen_once_over_all_lives) {
  const TempFolder folder;
  const std::string marker = folder.path() / "marker";
  const std::string script =
      R"({"default": {"tokens": [10], "repeat": 5}, "faults": [{"kind": "fail", "at_token": 3, "marker": ")" + marker +
      R"("}]})";
  start(script);
  submit(1, {5}, 100);
  read_until([&] { return fault_.has_value(); });
  leave();
  EXPECT_EQ(exit_code_, 70);
  start(script);
  submit(1, {5}, 100, outputs_[1].tokens);
  read_until_finished(1);
  EXPECT_EQ(outputs_[1].tokens, (std::vector<TokenId>{10, 10, 10, 10, 10, 2}));
}

TEST_F(EngineLoopTest, capacity_bounds_the_tokens_of_all_sequences_together) {
  start(R"({"tokens_per_s": 200, "default": {"tokens": [10], "repeat": 10}})");
  const auto begin = std::chrono::steady_clock::now();
  submit(1, {5}, 10);
  submit(2, {6}, 10);
  read_until_finished(2);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(99));
}

TEST_F(EngineLoopTest, resetting_the_prefix_cache_empties_it) {
  start(kThreeTokens);
  submit(1, std::vector<TokenId>(40, 7), 10);
  read_until_finished(1);
  send(Control{ControlCommand::kCheckIntegrity});
  EXPECT_EQ(next_stats().num_cached_blocks, 2);
  send(Control{ControlCommand::kResetPrefixCache});
  read_until([&] { return stats_.back().num_cached_blocks == 0; });
}

TEST(Script, names_what_it_does_not_understand) {
  const auto complaint = [](const char* text) { return parse_script(text).error().message; };
  EXPECT_THAT(complaint(R"({"defualt": {}})"), HasSubstr("script.defualt: expected no such key"));
  EXPECT_THAT(complaint(R"({"default": {"tokens": [1, "x"]}})"),
              HasSubstr("default.tokens: expected a list of token ids"));
  EXPECT_THAT(complaint(R"({"requests": [{"order": 0}]})"), HasSubstr("requests[0].tokens"));
  EXPECT_THAT(complaint(R"({"faults": [{"kind": "explode"}]})"), HasSubstr("faults[0].kind: expected nan, fail"));
  EXPECT_THAT(complaint(R"({"vocab_size": 8, "default": {"tokens": [8]}})"), HasSubstr("token 8"));
  EXPECT_THAT(complaint(R"({"step_ms": -1})"), HasSubstr("not negative"));
  EXPECT_THAT(complaint("[]"), HasSubstr("expected an object"));
  EXPECT_FALSE(parse_script("{"));
  EXPECT_THAT(read_script("/nowhere/script.json").error().message, HasSubstr("/nowhere/script.json"));
}

TEST(ScriptDeathTest, abort_and_exit_end_the_process) {
  const auto serve_until_the_end = [](const std::string& fault) {
    Script script = *parse_script(R"({"faults": [{"at_step": 2, )" + fault + "}]}");
    auto executor = *make_scripted_executor(std::move(script), {}, [](Duration) {});
    (void)generate_offline(*executor, {Submit{.id = {1}, .prompt = {1}, .stop = {.max_tokens = 9}}});
  };
  EXPECT_EXIT(serve_until_the_end(R"("kind": "abort")"), testing::KilledBySignal(SIGABRT), "");
  EXPECT_EXIT(serve_until_the_end(R"("kind": "exit", "exit_code": 9)"), testing::ExitedWithCode(9), "");
}

}  // namespace
}  // namespace gale
