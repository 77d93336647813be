#include "serving/journal.h"

#include <gtest/gtest.h>

namespace gale {
namespace {

constexpr RequestId kId{7};

Submit make(uint64_t id = kId.value) {
  Submit submit{.id = {id}, .prompt = {1, 2, 3}};
  submit.sampling.num_prompt_logprobs = 0;
  return submit;
}

SequenceOutput output(std::vector<TokenId> tokens) { return {.id = kId, .tokens = std::move(tokens)}; }

TEST(Journal, hands_over_the_prompt_with_what_was_told_so_far) {
  Journal journal;
  journal.add(make());
  EXPECT_TRUE(journal.hand_over(kId)->output.empty());
  EXPECT_FALSE(journal.hand_over(kId).has_value());   // one engine gets it once
  ASSERT_TRUE(journal.record(output({10, 11})).has_value());
  journal.note_engine_death();
  EXPECT_EQ(journal.hand_over(kId)->output, (std::vector<TokenId>{10, 11}));
}

TEST(Journal, knows_nothing_of_sequences_that_ended_left_or_are_not_with_the_engine) {
  Journal journal;
  EXPECT_FALSE(journal.record(output({1})).has_value());
  journal.add(make());
  EXPECT_FALSE(journal.record(output({1})).has_value());   // not handed over
  (void)journal.hand_over(kId);
  SequenceOutput last = output({1});
  last.finish = FinishReason::kStop;
  EXPECT_TRUE(journal.record(last).has_value());
  EXPECT_FALSE(journal.record(last).has_value());
  EXPECT_EQ(journal.size(), 0U);
}

TEST(Journal, takes_out_what_a_new_engine_repeats) {
  Journal journal;
  journal.add(make());
  (void)journal.hand_over(kId);
  SequenceOutput first{.id = kId, .prompt_logprobs = std::vector<TokenLogprobs>(1), .num_cached_tokens = 0};
  EXPECT_EQ(journal.record(first)->prompt_logprobs.size(), 1U);
  journal.note_engine_death();
  EXPECT_EQ(journal.hand_over(kId)->sampling.num_prompt_logprobs, 0);
  SequenceOutput again{.id = kId, .prompt_logprobs = std::vector<TokenLogprobs>(2), .num_cached_tokens = 3};
  const auto news = journal.record(again);
  EXPECT_EQ(news->prompt_logprobs.size(), 1U);
  EXPECT_FALSE(news->num_cached_tokens.has_value());
  journal.note_engine_death();
  EXPECT_EQ(journal.hand_over(kId)->sampling.num_prompt_logprobs, -1);   // all are told: not asked for again
}

TEST(Journal, counts_the_deaths_a_sequence_lived_through_without_a_token) {
  Journal journal;
  journal.add(make(1));
  journal.add(make(kId.value));
  (void)journal.hand_over(kId);
  journal.note_engine_death();
  (void)journal.hand_over(kId);
  journal.note_engine_death();
  EXPECT_EQ(journal.find(kId)->num_deaths, 2);
  EXPECT_EQ(journal.find({1})->num_deaths, 0);
  (void)journal.hand_over(kId);
  (void)journal.record(output({4}));
  EXPECT_EQ(journal.find(kId)->num_deaths, 0);
  EXPECT_EQ(journal.to_resume(), (std::vector<RequestId>{{1}, kId}));
}

}  // namespace
}  // namespace gale
