#include "scheduler/step_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace gale {
namespace {

using std::chrono::milliseconds;

Plan plan_of(int num_answers, int num_prompt_tokens) {
  Plan plan;
  for (int i = 0; i < num_answers; ++i) plan.sequences.push_back({.num_scheduled_tokens = 1});
  if (num_prompt_tokens > 0) plan.sequences.push_back({.num_scheduled_tokens = num_prompt_tokens});
  plan.num_tokens = num_answers + num_prompt_tokens;
  return plan;
}

// Of 28 ms answers take 8; 1,000 prompt tokens were in time once, and late the next time.
StepPace pace_after_a_late_step() {
  StepPace pace(milliseconds(28), 1);
  pace.note(plan_of(8, 0), milliseconds(8));
  pace.note(plan_of(8, 1000), milliseconds(28));
  pace.note(plan_of(8, 1000), milliseconds(33));
  EXPECT_EQ(pace.max_prompt_tokens(), 800);
  return pace;
}

TEST(StepPace, knows_nothing_at_first_and_limits_nothing_if_not_asked) {
  StepPace pace(milliseconds(28), 1), never(milliseconds(0), 1);
  EXPECT_FALSE(pace.max_prompt_tokens());
  never.note(plan_of(8, 512), milliseconds(90));
  EXPECT_FALSE(never.max_prompt_tokens());
  pace.note(plan_of(8, 0), milliseconds(8));
  EXPECT_FALSE(pace.max_prompt_tokens()) << "answers alone tell nothing of prompts";
  pace.note(plan_of(0, 512), milliseconds(50));
  EXPECT_FALSE(pace.max_prompt_tokens()) << "nor do prompts alone of both";
}

TEST(StepPace, leaves_prompts_the_time_that_answers_do_not_need) {
  StepPace pace(milliseconds(28), 1);
  pace.note(plan_of(8, 0), milliseconds(8));
  pace.note(plan_of(8, 2000), milliseconds(48));
  EXPECT_EQ(pace.max_prompt_tokens(), 1000) << "20 ms at 20 us a token";
  pace.note(plan_of(8, 1000), milliseconds(28));
  EXPECT_EQ(pace.max_prompt_tokens(), 1000) << "what it foretold came true";
}

TEST(StepPace, follows_what_becomes_slower_and_lets_prompts_get_on) {
  StepPace pace(milliseconds(28), 1);
  pace.note(plan_of(8, 0), milliseconds(8));
  pace.note(plan_of(8, 1000), milliseconds(28));
  pace.note(plan_of(8, 1000), milliseconds(40));
  EXPECT_EQ(pace.max_prompt_tokens(), 625) << "20 of 32 ms";
  pace.note(plan_of(8, 600), milliseconds(900));
  EXPECT_EQ(pace.max_prompt_tokens(), 300) << "one step may be disturbed: half at most";
  for (int i = 0; i < 40; ++i) pace.note(plan_of(8, pace.max_prompt_tokens().value_or(0)), milliseconds(900));
  EXPECT_EQ(pace.max_prompt_tokens(), 16);
}

// A long prompt's last tokens: each attends to all before, and 64 of them would be late beside any answers.
TEST(StepPace, keeps_the_time_where_a_few_tokens_take_long) {
  StepPace pace(milliseconds(20), 256);
  pace.note(plan_of(32, 0), milliseconds(10));
  double token_us = 10;
  int num_late = 0, num_steps = 0, most = 0;
  for (; token_us < 500; token_us *= 1.002, ++num_steps) {
    const int tokens = pace.max_prompt_tokens().value_or(1000);
    const auto time = std::chrono::microseconds(10'000 + static_cast<int>(tokens * token_us));
    pace.note(plan_of(32, tokens), time);
    num_late += time > milliseconds(22);
    most = tokens;
  }
  EXPECT_LE(num_late * 50, num_steps) << num_late << " of " << num_steps;
  EXPECT_GE(most, 16);
  EXPECT_LE(most, 20);
  for (; token_us > 20; token_us /= 1.002) {  // a short one comes: its tokens cost less
    const int tokens = pace.max_prompt_tokens().value_or(0);
    pace.note(plan_of(32, tokens), std::chrono::microseconds(10'000 + static_cast<int>(tokens * token_us)));
  }
  EXPECT_GE(pace.max_prompt_tokens(), 250);
}

TEST(StepPace, gives_prompts_as_long_as_answers_alone_where_these_take_longer) {
  StepPace pace(milliseconds(28), 1);
  for (int i = 0; i < 40; ++i) pace.note(plan_of(500, 0), milliseconds(40));
  pace.note(plan_of(500, 1000), milliseconds(140));
  EXPECT_NEAR(pace.max_prompt_tokens().value_or(-1), 400, 1) << "40 ms at 100 us";
}

// Prompts that always wait: no step would be of answers alone, however many these have become.
TEST(StepPace, has_answers_go_alone_now_and_then_and_follows_what_they_take) {
  StepPace pace(milliseconds(28), 1);
  pace.note(plan_of(8, 0), milliseconds(8));
  for (int i = 0; i < 64; ++i) {
    EXPECT_NE(pace.max_prompt_tokens(), 0);
    pace.note(plan_of(400, 300), milliseconds(28));
  }
  EXPECT_EQ(pace.max_prompt_tokens(), 0);
  pace.note(plan_of(400, 0), milliseconds(25));
  EXPECT_EQ(pace.max_prompt_tokens(), 300);
  for (int i = 0; i < 4; ++i) pace.note(plan_of(400, 300), milliseconds(28));
  EXPECT_EQ(pace.max_prompt_tokens(), 600) << "50 ms are allowed now";
}

TEST(StepPace, counts_drafts_as_answers) {
  StepPace pace(milliseconds(28), 1);
  Plan plan = plan_of(1, 0);
  plan.sequences[0].num_scheduled_tokens = 4, plan.sequences[0].draft_tokens = {1, 2, 3};
  plan.num_tokens = 4;
  pace.note(plan, milliseconds(8));
  pace.note(plan_of(1, 1000), milliseconds(28));
  EXPECT_EQ(pace.max_prompt_tokens(), 1000);
}

TEST(StepPace, falls_at_once_and_rises_after_some_steps_with_room) {
  StepPace pace = pace_after_a_late_step();
  for (int i = 0; i < 3; ++i) pace.note(plan_of(8, 800), milliseconds(18));
  EXPECT_EQ(pace.max_prompt_tokens(), 800);
  pace.note(plan_of(8, 800), milliseconds(18));
  EXPECT_EQ(pace.max_prompt_tokens(), 937) << "1,000 were late a moment ago";
}

TEST(StepPace, steps_that_took_less_than_they_might_do_not_raise_it) {
  StepPace pace(milliseconds(28), 1);
  pace.note(plan_of(8, 0), milliseconds(8));
  pace.note(plan_of(8, 1000), milliseconds(28));
  for (int i = 0; i < 60; ++i) pace.note(plan_of(8, 100), milliseconds(10));
  EXPECT_EQ(pace.max_prompt_tokens(), 1000);
}

// Experts: a step with prompts reads all of their weights whatever its tokens. As a step of 117 answers of a large
// model of experts was measured: 24 ms, 8 more with prompts, 9 us a prompt token.
TEST(StepPace, finds_the_largest_step_in_time_where_prompts_cost_from_the_first_token_on) {
  const auto step_us = [](int num_tokens) { return 24'000 + 8'000 + 9 * num_tokens; };
  StepPace pace(milliseconds(37), 1);
  pace.note(plan_of(117, 0), milliseconds(24));
  pace.note(plan_of(117, 233), std::chrono::microseconds(step_us(233)));
  int num_late = 0;
  for (int step = 0; step < 600; ++step) {
    const int most = pace.max_prompt_tokens().value_or(-1);
    const int us = most == 0 ? 24'000 : step_us(most);
    num_late += us > 1.02 * 48'000;
    pace.note(plan_of(117, most), std::chrono::microseconds(us));
    EXPECT_TRUE(step != 60 || most >= 1500) << most << " of 1,777 that end in 48 ms";
  }
  EXPECT_GE(pace.max_prompt_tokens().value_or(1600), 1600);
  EXPECT_LE(num_late, 6) << "1 %";
}

// A burst of prompts after a quieter time, on a large model of experts: 29 ms a step whatever its tokens, 22 us a
// prompt token. What few answers take alone (they touch few experts) says nothing of such steps.
TEST(StepPace, remembers_what_many_answers_took_when_few_answer) {
  StepPace pace(milliseconds(37), 1);
  const auto mixed_us = [](int num_tokens) { return std::chrono::microseconds(29'000 + 22 * num_tokens); };
  for (int i = 0; i < 100; ++i) pace.note(plan_of(64, 0), milliseconds(29));
  for (int i = 0; i < 100; ++i) pace.note(plan_of(2, 0), milliseconds(8));
  for (int i = 0; i < 60; ++i) {
    const int most = pace.max_prompt_tokens().value_or(2048);
    pace.note(plan_of(4, most), mixed_us(most));
  }
  EXPECT_GE(pace.max_prompt_tokens().value_or(-1), 1000) << "1,318 end in 58 ms, a ninth of which is forgotten by now";
}

// A crowd with long contexts that has left: others' gaps are short again before long.
TEST(StepPace, forgets_what_many_answers_took_once_they_are_gone) {
  StepPace pace(milliseconds(26), 1);
  for (int i = 0; i < 100; ++i) pace.note(plan_of(200, 0), milliseconds(40));
  for (int i = 0; i < 40; ++i) pace.note(plan_of(8, 0), milliseconds(5));
  int num_long = 0;
  for (int i = 0; i < 2000; ++i) {
    const int most = pace.max_prompt_tokens().value_or(2048);
    const int us = 5'000 + 15 * most;
    num_long += us > 27'000;
    pace.note(plan_of(8, most), std::chrono::microseconds(us));
  }
  EXPECT_LE(num_long, 700) << "of 2,000 steps";
  EXPECT_GE(pace.max_prompt_tokens().value_or(1400), 1250) << "1,400 end in 26 ms";
}

TEST(StepPace, tries_again_what_was_late_once_steps_may_take_longer) {
  StepPace pace = pace_after_a_late_step();
  for (int i = 0; i < 40; ++i) pace.note(plan_of(100, 0), milliseconds(20));
  for (int i = 0; i < 4; ++i) pace.note(plan_of(8, 800), milliseconds(28));
  EXPECT_GT(pace.max_prompt_tokens().value_or(-1), 1000) << "40 ms are allowed now";
}

TEST(StepPace, a_rest_of_a_prompt_does_not_make_tokens_dearer) {
  StepPace pace(milliseconds(28), 256);
  pace.note(plan_of(128, 0), milliseconds(8));
  pace.note(plan_of(128, 896), milliseconds(26));
  const int most = pace.max_prompt_tokens().value_or(-1);
  EXPECT_GE(most, 896);
  pace.note(plan_of(128, 140), milliseconds(15));        // 268 tokens, that is two grains
  EXPECT_GE(pace.max_prompt_tokens().value_or(-1), most);
}

Plan layered_plan(int num_answers, int num_tokens, int first, int end) {
  Plan plan = plan_of(num_answers, num_tokens);
  plan.sequences.back().layers = {.first = first, .end = end, .is_last = false};
  return plan;
}

TEST(StepPace, gives_a_long_prompt_as_many_layers_as_end_in_time) {
  StepPace pace(milliseconds(40), 256, 40);   // 38 of which are meant
  EXPECT_FALSE(pace.max_token_layers()) << "what answers take is not known";
  pace.note(plan_of(8, 0), milliseconds(8));
  pace.note(plan_of(8, 1000), milliseconds(40));
  EXPECT_EQ(pace.max_token_layers(), 1000 * 40) << "as long as only short contexts are known";
  pace.note(layered_plan(8, 2048, 0, 20), milliseconds(68));
  EXPECT_EQ(pace.max_token_layers(), 2048 * 10) << "30 of 60 ms";
  EXPECT_EQ(pace.max_prompt_tokens(), 1000) << "other prompts are another matter";
  for (int i = 0; i < 10; ++i) pace.note(layered_plan(8, 2048, 10, 20), milliseconds(68));
  EXPECT_NEAR(static_cast<double>(pace.max_token_layers().value_or(0)), 2048 * 5, 20) << "the context has grown";
}

TEST(StepPace, knows_the_layers_of_a_long_prompt_before_there_was_any_other) {
  StepPace pace(milliseconds(40), 256, 40), never(milliseconds(0), 256, 40);
  pace.note(plan_of(8, 0), milliseconds(8));
  EXPECT_EQ(pace.max_token_layers(), 64 * 40) << "a few to begin with";
  pace.note(layered_plan(8, 64, 0, 40), milliseconds(9));
  EXPECT_EQ(pace.max_token_layers(), 64 * 40 * 30);
  never.note(plan_of(8, 0), milliseconds(8));
  EXPECT_FALSE(never.max_token_layers());
}

TEST(StepPace, lets_answers_go_alone_now_and_then_beside_a_long_prompt) {
  StepPace pace(milliseconds(28), 256, 40);
  pace.note(plan_of(8, 0), milliseconds(8));
  int num_steps = 0;
  for (; pace.max_token_layers() != 0 && num_steps < 1000; ++num_steps)
    pace.note(layered_plan(8, 2048, 0, 20), milliseconds(28));
  EXPECT_EQ(num_steps, 64);
  pace.note(plan_of(8, 0), milliseconds(12));
  EXPECT_GT(pace.max_token_layers().value_or(0), 0);
}

// Microseconds of a layer's products by grains of 256 tokens: 512 to 1,536 as measured on an H100, the others and the
// 70 of 128 answers alone assumed.
int tiled_step_us(int num_tokens) {
  constexpr int kLayers = 40, kProducts[] = {0, 107, 164, 220, 282, 370, 428, 490, 550};
  return num_tokens <= 128 ? kLayers * 70 : kLayers * kProducts[(num_tokens + 255) / 256];
}

TEST(StepPace, does_not_swing_between_two_sizes_of_steps) {
  for (int limit_ms = 8; limit_ms < 24; ++limit_ms) {
    StepPace pace(milliseconds(limit_ms), 256);
    pace.note(plan_of(128, 0), std::chrono::microseconds(tiled_step_us(128)));
    int num_changes = 0, num_late = 0;
    for (int step = 0, before = 0; step < 400; ++step) {
      const int most = pace.max_prompt_tokens().value_or(2048);
      const int num_tokens = most == 0 ? 128 : std::min(2048, (128 + most) / 256 * 256);
      pace.note(plan_of(128, num_tokens - 128), std::chrono::microseconds(tiled_step_us(num_tokens)));
      if (step < 100) continue;
      if (num_tokens > 128) num_changes += num_tokens != std::exchange(before, num_tokens);
      num_late += tiled_step_us(num_tokens) > 1020 * limit_ms;
    }
    EXPECT_LE(num_changes, 2 * 300 / 64) << limit_ms << " ms";
    EXPECT_LE(num_late, 300 / 100 + 1) << limit_ms << " ms";
  }
}

}  // namespace
}  // namespace gale
