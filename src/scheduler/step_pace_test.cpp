#include "scheduler/step_pace.h"

#include <gtest/gtest.h>

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

TEST(StepPace, knows_nothing_at_first_and_limits_nothing_if_not_asked) {
  StepPace pace(milliseconds(28)), never(milliseconds(0));
  EXPECT_EQ(pace.max_prompt_tokens(), 0);
  never.note(plan_of(8, 512), milliseconds(90));
  EXPECT_EQ(never.max_prompt_tokens(), 0);
  pace.note(plan_of(8, 0), milliseconds(8));
  EXPECT_EQ(pace.max_prompt_tokens(), 0) << "answers alone tell nothing of prompts";
  pace.note(plan_of(0, 512), milliseconds(50));
  EXPECT_EQ(pace.max_prompt_tokens(), 0) << "nor do prompts alone of both";
}

TEST(StepPace, leaves_prompts_the_time_that_answers_do_not_need) {
  StepPace pace(milliseconds(28));
  pace.note(plan_of(8, 0), milliseconds(8));
  pace.note(plan_of(8, 2000), milliseconds(48));
  EXPECT_EQ(pace.max_prompt_tokens(), 960) << "20 ms at 20 us a token, in whole grains of 64";
  pace.note(plan_of(8, 960), milliseconds(27));
  EXPECT_NEAR(pace.max_prompt_tokens(), 960, 64) << "what it foretold came true";
}

TEST(StepPace, follows_what_becomes_slower_and_lets_prompts_get_on) {
  StepPace pace(milliseconds(28));
  pace.note(plan_of(8, 0), milliseconds(8));
  for (int i = 0; i < 40; ++i) pace.note(plan_of(8, 1000), milliseconds(108));
  EXPECT_EQ(pace.max_prompt_tokens(), 192) << "20 ms at 100 us";
  for (int i = 0; i < 40; ++i) pace.note(plan_of(500, 0), milliseconds(40));
  EXPECT_EQ(pace.max_prompt_tokens(), 384) << "answers alone take longer: as long again";
  for (int i = 0; i < 40; ++i) pace.note(plan_of(8, 64), milliseconds(900));
  EXPECT_EQ(pace.max_prompt_tokens(), 64);
}

TEST(StepPace, counts_drafts_as_answers) {
  StepPace pace(milliseconds(28));
  Plan plan = plan_of(1, 0);
  plan.sequences[0].num_scheduled_tokens = 4, plan.sequences[0].draft_tokens = {1, 2, 3};
  plan.num_tokens = 4;
  pace.note(plan, milliseconds(8));
  pace.note(plan_of(1, 1000), milliseconds(28));
  EXPECT_EQ(pace.max_prompt_tokens(), 960);
}

}  // namespace
}  // namespace gale
