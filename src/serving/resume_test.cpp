#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/pipeline_testing.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class ResumeTest : public PipelineTest {
 protected:
  ~ResumeTest() override { pipeline_.reset(); }   // before the clock that it may use

  SharedClock& use_shared_clock() {
    clock_ = &shared_clock_;
    return shared_clock_;
  }

  // A seeded request of two choices beside a plain one, to their ends.
  std::vector<ChoiceRecord> run_three_sequences() {
    Client plain, two;
    GenerateRequest asked = request(24);
    asked.n = 2;
    asked.num_logprobs = 0;
    asked.num_prompt_logprobs = 0;
    const auto first = submit(request(17), plain);
    const auto second = submit(std::move(asked), two);
    plain.wait();
    two.wait();
    EXPECT_EQ(two.num_prompt_logprobs(), 4U);
    EXPECT_EQ(plain.usage()->completion_tokens, 17);
    EXPECT_EQ(two.usage()->completion_tokens, 48);
    return {plain.choices()[0], two.choices()[0], two.choices()[1]};
  }

 private:
  SharedClock shared_clock_;
};

TEST_F(ResumeTest, an_engine_that_dies_at_any_token_costs_no_token_and_doubles_none) {
  start_and_wait();
  const std::vector<ChoiceRecord> undisturbed = run_three_sequences();
  for (int k = 1; k <= 24; ++k) {
    engine_.life = [k](int) { return FakeLife{.tokens_until_death = k, .tokens_per_step = 1 + k % 3}; };
    start_and_wait();
    const std::vector<ChoiceRecord> disturbed = run_three_sequences();
    for (size_t i = 0; i < disturbed.size(); ++i) {
      EXPECT_EQ(disturbed[i].tokens, undisturbed[i].tokens) << "death after " << k << " tokens, sequence " << i;
      EXPECT_EQ(disturbed[i].text, undisturbed[i].text);
      EXPECT_EQ(disturbed[i].num_logprobs, undisturbed[i].num_logprobs);
    }
    EXPECT_GE(record().num_lives, 65 / (k + 2));   // a step may overshoot by two tokens
  }
}

TEST_F(ResumeTest, inputs_that_are_pooled_are_done_again_by_the_next_engine) {
  for (int k = 0; k <= 20; k += 5) {
    engine_.life = [k](int life) { return FakeLife{.tokens_until_death = life < 3 ? k + 1 : -1}; };
    start_and_wait();
    Client client;
    GenerateRequest asked = request(1);
    asked.pooling = PoolingRequest{Pooling::kMean, {}};
    std::map<int, std::vector<float>> expected;
    for (int i = 0; i < 20; ++i) {  // more than the fake engine runs at once
      asked.pooling->inputs.emplace_back(TokenPrompt{{1, i, 3}});
      expected[i] = {1.0F, static_cast<float>(i), 3.0F};
    }
    run(std::move(asked), client);
    EXPECT_EQ(client.pooled(), expected) << "death after " << k + 1;
    EXPECT_EQ(client.usage()->prompt_tokens, 60);
    EXPECT_EQ(client.usage()->completion_tokens, 0);
  }
}

TEST_F(ResumeTest, an_unseeded_request_goes_on_with_the_seed_it_was_given) {
  engine_.life = [](int life) { return FakeLife{.tokens_until_death = life == 1 ? 5 : -1}; };
  start_and_wait();
  Client client;
  GenerateRequest asked = request(20);
  asked.sampling.seed.reset();
  run(std::move(asked), client);
  const std::vector<Submit> submits = record().submits;
  ASSERT_EQ(submits.size(), 2U);
  EXPECT_EQ(submits[1].sampling.seed, submits[0].sampling.seed);
  EXPECT_EQ(submits[1].prompt, submits[0].prompt);
  EXPECT_EQ(submits[1].output.size(), 5U);
  EXPECT_EQ(client.usage()->cached_tokens, 1);   // what the first engine said stands
}

// The fake engine says of each step that it took 2 ms, and of each first one that it was waited for 1 ms.
TEST_F(ResumeTest, times_are_added_up_over_engines) {
  for (int num_lives = 1; num_lives <= 2; ++num_lives) {
    engine_.life = [num_lives](int life) { return FakeLife{.tokens_until_death = life < num_lives ? 5 : -1}; };
    start_and_wait();
    Client client;
    run(request(20), client);
    EXPECT_DOUBLE_EQ(client.times().queue_s, 1e-3 * num_lives);
    EXPECT_DOUBLE_EQ(client.times().prefill_s, 2e-3);
    EXPECT_DOUBLE_EQ(client.times().inference_s, 20 * 2e-3);
    EXPECT_GT(client.times().parser_s, 0);
  }
}

TEST_F(ResumeTest, a_silent_engine_is_found_killed_and_replaced) {
  SharedClock& clock = use_shared_clock();
  config_.supervisor.beat_timeout = milliseconds(60);
  engine_.life = [](int life) { return FakeLife{.tokens_until_stall = life == 1 ? 6 : -1}; };
  start_and_wait();
  Client client;
  const auto handle = submit(request(20), client);
  client.wait_for_tokens(6);
  const TimePoint begin = clock.now();
  EXPECT_TRUE(wait_until([&] {
    clock.advance(milliseconds(1));
    return record().num_kills == 1;
  }));
  EXPECT_GE(clock.now() - begin, milliseconds(60));
  client.wait();
  EXPECT_EQ(client.choices()[0].tokens.size(), 20U);
  EXPECT_EQ(record().num_kills, 1);
  EXPECT_EQ(pipeline_->status().num_engine_restarts, 1);
}

TEST_F(ResumeTest, an_engine_that_never_gets_ready_is_killed_at_the_load_timeout) {
  SharedClock& clock = use_shared_clock();
  config_.supervisor.load_timeout = milliseconds(50);
  engine_.may_get_ready = [](int life) { return life > 1; };
  start();
  EXPECT_TRUE(wait_until([&] {
    clock.advance(milliseconds(1));
    return record().num_kills == 1;
  }));
  EXPECT_TRUE(wait_until([this] { return health() == Health::kReady; }));
  EXPECT_EQ(record().num_kills, 1);
}

TEST_F(ResumeTest, an_idle_engine_that_beats_is_left_alone) {
  SharedClock& clock = use_shared_clock();
  config_.supervisor.beat_timeout = milliseconds(300);
  start_and_wait();
  for (int i = 0; i < 20; ++i) {
    clock.advance(milliseconds(200));
    EXPECT_TRUE(wait_until([this] { return pipeline_->status().beat_age_s < 0.2; }));
  }
  EXPECT_EQ(record().num_lives, 1);
  EXPECT_EQ(health(), Health::kReady);
}

TEST_F(ResumeTest, requests_are_refused_while_the_first_engine_loads_and_wait_while_a_later_one_does) {
  engine_.life = [](int life) { return FakeLife{.tokens_until_death = life == 1 ? 1 : -1}; };
  std::atomic<int> num_loaded = 0;
  engine_.may_get_ready = [&](int life) { return life <= num_loaded; };
  start();
  Client early, breaks, waits;
  EXPECT_EQ(pipeline_->submit(request(3), early.sink()).error().code, ErrorCode::kUnavailable);
  num_loaded = 1;
  ASSERT_TRUE(wait_until([this] { return health() == Health::kReady; }));
  const auto first = submit(request(3), breaks);
  ASSERT_TRUE(wait_until([this] { return pipeline_->status().num_engine_restarts == 1; }));
  EXPECT_EQ(health(), Health::kLoading);
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("restarting: the fake ended"));
  const auto second = submit(request(3), waits);
  num_loaded = 2;
  waits.wait();
  breaks.wait();
  EXPECT_EQ(waits.choices()[0].tokens.size(), 3U);
  EXPECT_EQ(breaks.choices()[0].tokens.size(), 3U);
}

TEST_F(ResumeTest, cancelled_while_no_engine_runs_a_request_is_not_resumed) {
  engine_.life = [](int life) { return FakeLife{.tokens_until_death = life == 1 ? 1 : -1}; };
  std::atomic<int> num_loaded = 1;
  engine_.may_get_ready = [&](int life) { return life <= num_loaded; };
  start_and_wait();
  Client client;
  auto handle = submit(request(30), client);
  ASSERT_TRUE(wait_until([this] { return pipeline_->status().num_engine_restarts == 1; }));
  handle.reset();
  num_loaded = 2;
  ASSERT_TRUE(wait_until([this] { return health() == Health::kReady; }));
  Client next;
  run(request(2), next);
  EXPECT_EQ(record().submits.size(), 2U);
  EXPECT_TRUE(record().cancels.empty());
}

TEST_F(ResumeTest, a_crash_loop_fails_what_is_live_and_leaves_the_front_up_until_an_engine_stays) {
  engine_.life = [](int life) {
    return FakeLife{.tokens_until_death = life <= 8 ? 0 : -1, .load_time = milliseconds(5)};
  };
  start_and_wait();
  Client victim;
  run(request(10), victim);
  ASSERT_TRUE(victim.failed().has_value());
  EXPECT_EQ(victim.failed()->error.code, ErrorCode::kInternal);
  EXPECT_THAT(victim.failed()->error.message, HasSubstr("died 3 times in a row"));
  EXPECT_EQ(pipeline_->status().num_live_requests, 0);
  ASSERT_TRUE(wait_until([this] { return health() == Health::kReady; }));   // an idle engine does not die
  engine_.life = [](int) { return FakeLife{}; };
  start_and_wait();
  Client next;
  run(request(10), next);
  EXPECT_EQ(next.choices()[0].tokens.size(), 10U);
}

TEST_F(ResumeTest, without_any_engine_requests_are_refused_with_the_cause_in_the_status) {
  config_.supervisor.restart.max_backoff = kLongEnough;
  engine_.life = [](int life) { return FakeLife{.dies_while_loading = life > 1, .tokens_until_death = 1}; };
  start_and_wait();
  Client victim, late;
  run(request(10), victim);
  ASSERT_TRUE(victim.failed().has_value());
  EXPECT_EQ(health(), Health::kDead);
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("the fake ended"));
  EXPECT_EQ(pipeline_->submit(request(3), late.sink()).error().code, ErrorCode::kUnavailable);
}

TEST_F(ResumeTest, a_model_that_cannot_be_loaded_is_reported_and_not_tried_in_a_hurry) {
  config_.supervisor.restart.max_backoff = kLongEnough;
  engine_.life = [](int) {
    return FakeLife{.load_fault = Error{ErrorCode::kCorrupt, "config.json: no such architecture"}};
  };
  start();
  ASSERT_TRUE(wait_until([this] { return health() == Health::kDead; }));
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("config.json: no such architecture"));
  EXPECT_EQ(pipeline_->engine_fault()->code, ErrorCode::kCorrupt);
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(record().num_lives, 1);
}

}  // namespace
}  // namespace gale
