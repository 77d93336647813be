#include "scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace gale {
namespace {

using testing::HasSubstr;

constexpr TokenId kStop = 2;

class SchedulerTest : public testing::Test {
 protected:
  static SchedulerConfig small() {
    return {.max_num_seqs = 4, .max_num_batched_tokens = 16, .max_model_len = 64, .block_size = 4, .num_blocks = 16};
  }
  explicit SchedulerTest(const SchedulerConfig& config = small()) : scheduler_(config) {}
  void TearDown() override { EXPECT_EQ(scheduler_.check_integrity().problem, ""); }

  std::optional<SequenceOutput> add(uint64_t id, int num_prompt_tokens, int max_tokens = 8, int priority = 0) {
    Submit submit{.id = {id}, .priority = priority};
    for (int i = 0; i < num_prompt_tokens; ++i) submit.prompt.push_back(static_cast<TokenId>(10 + 100 * id) + i);
    submit.stop = {.stop_token_ids = {kStop}, .max_tokens = max_tokens};
    return scheduler_.add(std::move(submit));
  }
  // Commits a plan with this token for everyone who wants one.
  std::vector<SequenceOutput> give(const Plan& plan, TokenId token = 7) {
    std::vector<SequenceResult> results(plan.sequences.size());
    for (size_t i = 0; i < results.size(); ++i) {
      if (plan.sequences[i].wants_token) results[i].tokens = {token};
    }
    return scheduler_.commit(plan, std::move(results));
  }
  static std::vector<std::pair<uint64_t, int>> ids_and_tokens(const Plan& plan) {
    std::vector<std::pair<uint64_t, int>> out;
    for (const ScheduledSequence& scheduled : plan.sequences)
      out.emplace_back(scheduled.id.value, scheduled.num_scheduled_tokens);
    return out;
  }
  using Scheduled = std::vector<std::pair<uint64_t, int>>;

  Scheduler scheduler_;
};

TEST_F(SchedulerTest, mixes_decodes_with_chunks_of_a_prompt_under_the_token_budget) {
  ASSERT_FALSE(add(1, 5));
  EXPECT_EQ(give(scheduler_.schedule()).size(), 1U);
  ASSERT_FALSE(add(2, 20));
  Plan plan = scheduler_.schedule();
  EXPECT_EQ(ids_and_tokens(plan), (Scheduled{{1, 1}, {2, 15}}));
  EXPECT_FALSE(plan.sequences[1].wants_token);
  EXPECT_EQ(give(plan).size(), 1U) << "a chunk tells nothing";
  plan = scheduler_.schedule();
  EXPECT_EQ(ids_and_tokens(plan), (Scheduled{{1, 1}, {2, 5}}));
  EXPECT_TRUE(plan.sequences[1].wants_token);
  EXPECT_EQ(give(plan).size(), 2U);
}

class MixedSchedulerTest : public SchedulerTest {
 protected:
  static SchedulerConfig smooth() {
    SchedulerConfig config = small();
    config.max_num_mixed_prefill_tokens = 6;
    return config;
  }
  MixedSchedulerTest() : SchedulerTest(smooth()) {}
};

TEST_F(MixedSchedulerTest, prompts_take_little_beside_answers_and_all_alone) {
  ASSERT_FALSE(add(1, 20));
  ASSERT_FALSE(add(2, 3));
  EXPECT_EQ(ids_and_tokens(scheduler_.schedule()), (Scheduled{{1, 16}})) << "nobody waits for an answer's next token";
}

TEST_F(MixedSchedulerTest, decoders_do_not_count_against_the_prompts_beside_them) {
  ASSERT_FALSE(add(1, 3));
  ASSERT_FALSE(add(2, 3));
  EXPECT_EQ(give(scheduler_.schedule()).size(), 2U);
  ASSERT_FALSE(add(3, 9));
  ASSERT_FALSE(add(4, 9));
  Plan plan = scheduler_.schedule();
  EXPECT_EQ(ids_and_tokens(plan), (Scheduled{{1, 1}, {2, 1}, {3, 6}}));
  (void)give(plan);
  EXPECT_EQ(ids_and_tokens(scheduler_.schedule()), (Scheduled{{1, 1}, {2, 1}, {3, 3}, {4, 3}}));
}

// A prompt of 80 tokens beside two answers; from 8 tokens on it goes by layers, 10 of them, 24 tokens at most.
class LayeredSchedulerTest : public SchedulerTest {
 protected:
  static SchedulerConfig layered() {
    return {.max_num_seqs = 4, .max_num_batched_tokens = 32, .mixed_step_grain = 4, .layered_context = 8,
            .max_layered_tokens = 24, .num_layers = 10, .max_model_len = 128, .block_size = 4, .num_blocks = 128};
  }
  LayeredSchedulerTest() : SchedulerTest(layered()) {
    for (uint64_t id = 1; id <= 2; ++id) EXPECT_FALSE(add(id, 3, 60));
    EXPECT_EQ(give(scheduler_.schedule()).size(), 2U);
    scheduler_.limit_mixed_prefill(10);
    scheduler_.limit_layered_prefill(72);   // 24 tokens in 3 layers
    EXPECT_FALSE(add(3, 80));
    EXPECT_EQ(ids_and_tokens(take()), (Scheduled{{1, 1}, {2, 1}, {3, 10}})) << "a chunk: not long yet";
  }
  Plan take() {
    Plan plan = scheduler_.schedule();
    (void)give(plan);
    return plan;
  }
  static std::pair<int, int> layers_of(const Plan& plan) {
    const ScheduledSequence* piece = plan.layered();
    return piece == nullptr ? std::pair(-1, -1) : std::pair(piece->layers->first, piece->layers->end);
  }
};

TEST_F(LayeredSchedulerTest, a_long_prompt_goes_on_a_few_layers_a_step) {
  for (const int first : {0, 3, 6}) {
    const Plan plan = take();
    EXPECT_EQ(ids_and_tokens(plan), (Scheduled{{1, 1}, {2, 1}, {3, 24}}));
    EXPECT_EQ(layers_of(plan), std::pair(first, first + 3));
    EXPECT_FALSE(plan.sequences[2].is_complete());
    EXPECT_EQ(plan.num_completed_tokens(), 2);
    EXPECT_EQ(plan.sequences[2].num_computed_tokens, 10) << "they are in the cache of all layers only at the end";
  }
  const Plan last = take();
  EXPECT_EQ(layers_of(last), std::pair(9, 10));
  EXPECT_TRUE(last.sequences[2].is_complete());
  EXPECT_FALSE(last.sequences[2].wants_token);
  const Plan next = take();
  EXPECT_EQ(next.sequences[2].num_computed_tokens, 34);
  EXPECT_EQ(layers_of(next), std::pair(0, 3));
}

TEST_F(LayeredSchedulerTest, it_ends_with_a_token_and_its_prefix_is_there_for_others) {
  int num_steps = 0;
  Plan plan;
  for (bool has_token = false; !has_token; ++num_steps) {
    ASSERT_LT(num_steps, 40);
    plan = take();
    has_token = plan.sequences[2].wants_token;
  }
  EXPECT_EQ(num_steps, 4 + 4 + 4) << "24, 24 and 22 tokens";
  EXPECT_EQ(scheduler_.sequence({3}).num_output_tokens(), 1);
  EXPECT_EQ(ids_and_tokens(take()), (Scheduled{{1, 1}, {2, 1}, {3, 1}}));
  Submit again = {.id = {4}, .prompt = scheduler_.sequence({3}).tokens, .stop = {.max_tokens = 1}};
  EXPECT_FALSE(scheduler_.add(std::move(again)));
  EXPECT_EQ(take().sequences.back().num_computed_tokens, 80);
}

TEST_F(LayeredSchedulerTest, pieces_are_as_large_as_whole_layers_of_them_fit) {
  scheduler_.limit_layered_prefill(43);
  EXPECT_EQ(ids_and_tokens(take()).back(), std::pair(uint64_t{3}, 20)) << "twice 20, less would be wasted with 24";
  EXPECT_EQ(layers_of(take()), std::pair(2, 4));
  scheduler_.limit_layered_prefill(1);
  EXPECT_EQ(layers_of(take()), std::pair(4, 5)) << "it gets on, however slow the steps are";
}

TEST_F(LayeredSchedulerTest, it_takes_turns_with_the_chunks_of_others) {
  ASSERT_FALSE(add(4, 7));
  EXPECT_EQ(ids_and_tokens(take()), (Scheduled{{1, 1}, {2, 1}, {3, 24}}));
  EXPECT_EQ(ids_and_tokens(take()), (Scheduled{{1, 1}, {2, 1}, {4, 7}})) << "and a newcomer does not wait for it";
  EXPECT_EQ(layers_of(take()), std::pair(3, 6));
  EXPECT_EQ(layers_of(take()), std::pair(6, 9)) << "nobody else is there";
}

TEST_F(LayeredSchedulerTest, it_goes_through_what_is_left_at_once_when_nobody_answers_any_more) {
  EXPECT_EQ(layers_of(take()), std::pair(0, 3));
  for (uint64_t id = 1; id <= 2; ++id) EXPECT_TRUE(scheduler_.cancel({id}));
  EXPECT_EQ(layers_of(take()), std::pair(3, 10));
  EXPECT_EQ(layers_of(take()), std::pair(-1, -1)) << "in chunks";
}

TEST_F(LayeredSchedulerTest, it_waits_while_a_step_of_answers_alone_is_due) {
  EXPECT_EQ(layers_of(take()), std::pair(0, 3));
  scheduler_.limit_layered_prefill(0);
  scheduler_.limit_mixed_prefill(0);
  EXPECT_EQ(ids_and_tokens(take()), (Scheduled{{1, 1}, {2, 1}}));
  scheduler_.limit_layered_prefill(72);
  EXPECT_EQ(layers_of(take()), std::pair(3, 6));
}

TEST_F(LayeredSchedulerTest, it_begins_anew_after_it_was_cancelled_and_comes_again) {
  EXPECT_EQ(layers_of(take()), std::pair(0, 3));
  EXPECT_TRUE(scheduler_.cancel({3}));
  ASSERT_FALSE(add(3, 80));
  EXPECT_EQ(take().sequences.back().num_computed_tokens, 8) << "what was computed in all layers was known";
  EXPECT_EQ(layers_of(take()), std::pair(3, 6)) << "from the first layer on, in a piece of its own";
}

TEST_F(LayeredSchedulerTest, vectors_and_logprobs_of_prompts_go_in_chunks) {
  EXPECT_TRUE(scheduler_.cancel({3}));
  Submit asking{.id = {4}, .sampling = {.num_prompt_logprobs = 0}, .stop = {.max_tokens = 1}};
  asking.prompt.assign(80, 9);
  EXPECT_FALSE(scheduler_.add(asking));
  asking.id = {5};
  asking.sampling = {};
  asking.pooling = Pooling::kMean;
  EXPECT_FALSE(scheduler_.add(asking));
  while (scheduler_.is_live({4}) || scheduler_.is_live({5})) {
    const Plan plan = scheduler_.schedule();
    ASSERT_EQ(plan.layered(), nullptr);
    std::vector<SequenceResult> results(plan.sequences.size());
    for (size_t i = 0; i < results.size(); ++i) {
      if (plan.sequences[i].wants_token) results[i].tokens = {7};
    }
    (void)scheduler_.commit(plan, std::move(results));
  }
}

class GrainSchedulerTest : public SchedulerTest {
 protected:
  static SchedulerConfig in_grains() {
    return {.max_num_seqs = 4, .max_num_batched_tokens = 27, .mixed_step_grain = 8, .max_model_len = 64,
            .block_size = 4, .num_blocks = 64};
  }
  // Beside a prompt of 40 tokens.
  GrainSchedulerTest() : SchedulerTest(in_grains()) {
    for (uint64_t id = 1; id <= 3; ++id) EXPECT_FALSE(add(id, 3));
    EXPECT_EQ(give(scheduler_.schedule()).size(), 3U);
    EXPECT_FALSE(add(4, 40));
  }
  int num_prompt_tokens() { return scheduler_.schedule().num_tokens - 3; }
};

TEST_F(GrainSchedulerTest, answers_and_prompts_fill_whole_grains_until_the_prompt_ends) {
  Plan plan = scheduler_.schedule();
  EXPECT_EQ(ids_and_tokens(plan), (Scheduled{{1, 1}, {2, 1}, {3, 1}, {4, 21}})) << "24 of the 27 that are allowed";
  (void)give(plan);
  plan = scheduler_.schedule();
  EXPECT_EQ(ids_and_tokens(plan), (Scheduled{{1, 1}, {2, 1}, {3, 1}, {4, 19}})) << "all that is left";
  EXPECT_TRUE(plan.sequences[3].wants_token);
  (void)give(plan);
}

TEST_F(GrainSchedulerTest, a_limit_on_prompts_is_cut_to_whole_grains) {
  scheduler_.limit_mixed_prefill(17);
  EXPECT_EQ(num_prompt_tokens(), 13);
}

TEST_F(GrainSchedulerTest, a_limit_that_leaves_less_than_a_grain_is_taken_whole) {
  scheduler_.limit_mixed_prefill(12);
  EXPECT_EQ(num_prompt_tokens(), 12) << "5 would fill a grain";
  scheduler_.limit_mixed_prefill(4);
  EXPECT_EQ(num_prompt_tokens(), 4);
}

TEST_F(GrainSchedulerTest, answers_go_alone_if_prompts_may_have_nothing) {
  scheduler_.limit_mixed_prefill(0);
  EXPECT_EQ(ids_and_tokens(scheduler_.schedule()), (Scheduled{{1, 1}, {2, 1}, {3, 1}}));
  scheduler_.limit_mixed_prefill({});
  EXPECT_EQ(num_prompt_tokens(), 21);
}

TEST_F(SchedulerTest, an_old_prompt_leaves_a_token_for_each_decoder_behind_it) {
  ASSERT_FALSE(add(1, 40));
  ASSERT_FALSE(add(2, 3, 8, -1));
  (void)give(scheduler_.schedule());
  EXPECT_EQ(ids_and_tokens(scheduler_.schedule()), (Scheduled{{2, 1}, {1, 15}}));
}

TEST_F(SchedulerTest, equal_histories_give_equal_plans) {
  Scheduler twin(scheduler_.config());
  for (uint64_t id = 1; id <= 3; ++id) {
    Submit submit{.id = {id}, .prompt = {1, 2, 3, 4, 5, static_cast<TokenId>(id)}};
    ASSERT_FALSE(scheduler_.add(submit));
    ASSERT_FALSE(twin.add(submit));
  }
  const Plan a = scheduler_.schedule(), b = twin.schedule();
  EXPECT_EQ(a, b);
}

TEST_F(SchedulerTest, ends_at_a_stop_id_at_max_tokens_and_at_the_context) {
  ASSERT_FALSE(add(1, 3, 8));
  ASSERT_FALSE(add(2, 3, 1));
  auto outputs = give(scheduler_.schedule(), kStop);
  ASSERT_EQ(outputs.size(), 2U);
  EXPECT_EQ(outputs[0].finish, FinishReason::kStop);
  EXPECT_EQ(outputs[0].stop_token, kStop);
  EXPECT_EQ(outputs[0].tokens, std::vector<TokenId>{kStop});
  EXPECT_EQ(outputs[1].finish, FinishReason::kStop) << "the stop id counts more than the limit";
  ASSERT_FALSE(add(3, 3, 1));
  EXPECT_EQ(give(scheduler_.schedule())[0].finish, FinishReason::kLength);
  ASSERT_FALSE(add(4, 62, 1000));
  int num_tokens = 0;
  while (scheduler_.has_work()) {
    for (const SequenceOutput& output : give(scheduler_.schedule()))
      num_tokens += static_cast<int>(output.tokens.size());
  }
  EXPECT_EQ(num_tokens, 2);
}

TEST_F(SchedulerTest, says_at_once_what_can_never_run) {
  EXPECT_EQ(add(1, 0)->error->code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(add(2, 64)->error->code, ErrorCode::kContextLength);
  EXPECT_EQ(add(3, 5, 0)->error->param, "max_tokens");
  EXPECT_FALSE(scheduler_.has_work());
}

TEST(Scheduler, a_request_larger_than_the_pool_fails_with_the_numbers) {
  Scheduler scheduler(
      {.max_num_seqs = 4, .max_num_batched_tokens = 16, .max_model_len = 1000, .block_size = 4, .num_blocks = 4});
  Submit submit{.id = {1}, .prompt = {1, 2, 3}, .stop = {.max_tokens = 15}};
  const auto outcome = scheduler.add(submit);
  ASSERT_TRUE(outcome && outcome->error);
  EXPECT_EQ(outcome->finish, FinishReason::kError);
  EXPECT_THAT(outcome->error->message, HasSubstr("need 5 KV blocks of 4 tokens; there are 4"));
  submit.stop.max_tokens = 14;   // the last token needs no place
  EXPECT_FALSE(scheduler.add(submit));
}

TEST_F(SchedulerTest, a_lower_priority_value_runs_first_and_equal_ones_in_order) {
  for (uint64_t id = 1; id <= 4; ++id) ASSERT_FALSE(add(id, 10, 8, id == 3 ? -5 : 0));
  EXPECT_EQ(ids_and_tokens(scheduler_.schedule()), (Scheduled{{3, 10}, {1, 6}}));
}

TEST_F(SchedulerTest, preempts_the_newest_and_brings_it_back_with_all_its_tokens) {
  ASSERT_FALSE(add(1, 16, 32));
  (void)give(scheduler_.schedule());
  ASSERT_FALSE(add(2, 12, 32));
  std::vector<RequestId> preempted;
  std::vector<TokenId> second;
  TokenId token = 100;
  while (scheduler_.has_work()) {
    const Plan plan = scheduler_.schedule();
    preempted.insert(preempted.end(), plan.preempted.begin(), plan.preempted.end());
    for (const SequenceOutput& output : give(plan, token++)) {
      if (output.id.value == 2) second.insert(second.end(), output.tokens.begin(), output.tokens.end());
    }
  }
  EXPECT_THAT(preempted, testing::Each(RequestId{2}));
  EXPECT_GE(preempted.size(), 1U);
  EXPECT_EQ(second.size(), 32U);
  EXPECT_TRUE(std::ranges::is_sorted(second)) << "no token twice, none lost";
}

TEST_F(SchedulerTest, cancel_frees_everything_in_every_phase) {
  EXPECT_FALSE(scheduler_.cancel({1})) << "unknown";
  const auto cancelled = [this](uint64_t id) {
    const auto outcome = scheduler_.cancel({id});
    EXPECT_TRUE(outcome && outcome->finish == FinishReason::kCancelled);
    EXPECT_EQ(scheduler_.stats().num_free_blocks, 16);
    EXPECT_FALSE(scheduler_.has_work());
  };
  ASSERT_FALSE(add(1, 20));
  cancelled(1);                                          // waiting
  ASSERT_FALSE(add(2, 20));
  (void)give(scheduler_.schedule());
  cancelled(2);                                          // half of the prompt done
  ASSERT_FALSE(add(3, 3));
  (void)give(scheduler_.schedule());
  cancelled(3);                                          // decoding
  ASSERT_FALSE(add(4, 3));
  const Plan plan = scheduler_.schedule();
  cancelled(4);                                          // under way
  EXPECT_TRUE(give(plan).empty());
}

TEST_F(SchedulerTest, an_output_from_an_earlier_life_counts_towards_the_limits) {
  Submit submit{.id = {1}, .prompt = {1, 2, 3}, .output = {4, 5}, .stop = {.stop_token_ids = {kStop}, .max_tokens = 3}};
  ASSERT_FALSE(scheduler_.add(submit));
  const Plan plan = scheduler_.schedule();
  EXPECT_EQ(plan.sequences[0].num_scheduled_tokens, 5);
  EXPECT_EQ(give(plan)[0].finish, FinishReason::kLength);
  submit.output = {4, 5, 6};
  EXPECT_EQ(scheduler_.add(submit)->finish, FinishReason::kLength);
  submit.output = {4, kStop};
  EXPECT_EQ(scheduler_.add(submit)->finish, FinishReason::kStop);
}

TEST_F(SchedulerTest, tells_cached_prompt_tokens_with_the_first_output_only) {
  const auto run = [this](uint64_t id) {
    EXPECT_FALSE(scheduler_.add({.id = {id}, .prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9}, .stop = {.max_tokens = 2}}));
    std::vector<std::optional<int>> told;
    while (scheduler_.has_work()) told.push_back(give(scheduler_.schedule())[0].num_cached_tokens);
    return told;
  };
  EXPECT_EQ(run(1), (std::vector<std::optional<int>>{0, std::nullopt}));
  EXPECT_EQ(run(2), (std::vector<std::optional<int>>{8, std::nullopt}));
  EXPECT_EQ(scheduler_.stats().prefix_queries, 18U);
  EXPECT_EQ(scheduler_.stats().prefix_hits, 8U);
  EXPECT_EQ(scheduler_.stats().prompt_tokens, 10U);
}

TEST_F(SchedulerTest, what_a_failed_sequence_computed_is_not_shared) {
  ASSERT_FALSE(add(1, 20));
  (void)give(scheduler_.schedule());                     // blocks of a first chunk are in the prefix cache
  const Plan plan = scheduler_.schedule();
  std::vector<SequenceResult> results(1);
  results[0].error = Error{ErrorCode::kInternal, "not a number"};
  const auto outputs = scheduler_.commit(plan, std::move(results));
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_EQ(outputs[0].finish, FinishReason::kError);
  EXPECT_EQ(scheduler_.stats().num_cached_blocks, 0);
  EXPECT_EQ(scheduler_.stats().num_free_blocks, 16);
}

TEST_F(SchedulerTest, drafts_travel_and_only_the_right_ones_are_kept) {
  ASSERT_FALSE(add(1, 3, 20));
  Plan plan = scheduler_.schedule();
  std::vector<SequenceResult> results(1);
  results[0].tokens = {50};
  results[0].next_drafts = {51, 52, 53};
  (void)scheduler_.commit(plan, std::move(results));
  plan = scheduler_.schedule();
  EXPECT_EQ(plan.sequences[0].num_scheduled_tokens, 4);
  EXPECT_EQ(plan.sequences[0].draft_tokens, (std::vector<TokenId>{51, 52, 53}));
  results.assign(1, {});
  results[0].tokens = {51, 60};                          // the second guess was wrong
  EXPECT_EQ(scheduler_.commit(plan, std::move(results))[0].tokens, (std::vector<TokenId>{51, 60}));
  plan = scheduler_.schedule();
  EXPECT_EQ(plan.sequences[0].num_computed_tokens, 5) << "prompt, 50, 51";
  EXPECT_EQ(plan.sequences[0].num_scheduled_tokens, 1);
}

TEST_F(SchedulerTest, prompt_logprobs_cover_each_position_once_and_take_no_hit) {
  ASSERT_FALSE(add(9, 20, 1));
  while (scheduler_.has_work()) (void)give(scheduler_.schedule());
  Submit submit{.id = {1}, .stop = {.max_tokens = 1}};
  for (int i = 0; i < 20; ++i) submit.prompt.push_back(910 + i);
  submit.sampling.num_prompt_logprobs = 0;
  ASSERT_FALSE(scheduler_.add(submit));
  Plan plan = scheduler_.schedule();
  EXPECT_EQ(plan.sequences[0].num_computed_tokens, 0);
  EXPECT_EQ(plan.sequences[0].prompt_logprobs, (PromptRange{1, 17}));
  (void)give(plan);
  plan = scheduler_.schedule();
  EXPECT_EQ(plan.sequences[0].prompt_logprobs, (PromptRange{17, 20}));
  (void)give(plan);
}

TEST_F(SchedulerTest, a_second_submit_replaces_a_live_sequence) {
  ASSERT_FALSE(add(1, 5));
  (void)give(scheduler_.schedule());
  ASSERT_FALSE(add(1, 3, 1));
  EXPECT_EQ(give(scheduler_.schedule())[0].finish, FinishReason::kLength);
  EXPECT_FALSE(scheduler_.has_work());
}

TEST(Scheduler, a_pooled_sequence_ends_with_its_prompt_and_may_fill_the_context) {
  SchedulerConfig config{
      .max_num_seqs = 2, .max_num_batched_tokens = 10, .max_model_len = 24, .block_size = 4, .num_blocks = 6};
  Scheduler scheduler(config);
  Submit submit{.id = {1}, .prompt = std::vector<TokenId>(24, 5)};
  submit.pooling = Pooling::kMean;
  ASSERT_FALSE(scheduler.add(submit));
  std::vector<SequenceOutput> told;
  // Two plans ahead of what is committed, as on a GPU: nothing is planned behind the prompt.
  std::vector<Plan> plans;
  for (int i = 0; i < 4; ++i) plans.push_back(scheduler.schedule());
  EXPECT_TRUE(plans[3].sequences.empty());
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(plans[i].sequences.size(), 1U);
    EXPECT_FALSE(plans[i].sequences[0].wants_token);
    EXPECT_EQ(plans[i].sequences[0].wants_pooled, i == 2);
    SequenceResult result;
    if (i == 2) result.pooled = {1.0F, 2.0F};
    const std::vector<SequenceOutput> outputs = scheduler.commit(plans[i], {result});
    told.insert(told.end(), outputs.begin(), outputs.end());
  }
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].finish, FinishReason::kStop);
  EXPECT_EQ(told[0].pooled, (std::vector<float>{1.0F, 2.0F}));
  EXPECT_FALSE(scheduler.has_work());
  submit.id = {2};
  submit.prompt.push_back(5);
  const std::optional<SequenceOutput> outcome = scheduler.add(submit);
  ASSERT_TRUE(outcome && outcome->error);
  EXPECT_EQ(outcome->error->code, ErrorCode::kContextLength);
}

}  // namespace
}  // namespace gale
