#include "serving/journal.h"

#include <gtest/gtest.h>

#include <set>

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
  EXPECT_EQ(journal.take_due(), (std::vector<RequestId>{{1}}));   // the other is with the engine
}

constexpr TokenId kPoison = 666;

// Engines that die when they get a sequence with kPoison, until one lives. It gives each sequence a token.
struct Trial {
  Journal journal;
  std::vector<uint64_t> convicted;
  int num_deaths = 0;

  void submit(uint64_t id, bool is_poison) {
    Submit submit = make(id);
    if (is_poison) submit.prompt.push_back(kPoison);
    journal.add(std::move(submit));
  }
  // False: it died.
  bool live() {
    for (std::vector<RequestId> due = journal.take_due(); !due.empty(); due = journal.take_due()) {
      bool is_deadly = false;
      for (const RequestId id : due) {
        const std::optional<Submit> submit = journal.hand_over(id);
        is_deadly |= submit->prompt.back() == kPoison;
      }
      if (is_deadly) return false;
      for (const RequestId id : due) (void)journal.record({.id = id, .tokens = {1}});
    }
    return true;
  }
  void run() {
    while (num_deaths < 100 && !live()) {
      ++num_deaths;
      journal.note_engine_death();
      for (const JournalEntry& entry : journal.convict()) convicted.push_back(entry.submit.id.value);
    }
  }
};

TEST(Journal, finds_the_one_sequence_that_kills_engines_by_halves) {
  for (uint64_t poison = 1; poison <= 32; ++poison) {
    Trial trial;
    for (uint64_t id = 1; id <= 32; ++id) trial.submit(id, id == poison);
    trial.run();
    EXPECT_EQ(trial.convicted, std::vector<uint64_t>{poison});
    EXPECT_LE(trial.num_deaths, 9);                      // two, five halvings, and twice alone
    EXPECT_EQ(trial.journal.size(), 31U);
  }
}

TEST(Journal, finds_several_that_kill_engines_and_nobody_else) {
  for (uint64_t other = 2; other <= 20; ++other) {
    Trial trial;
    for (uint64_t id = 1; id <= 20; ++id) trial.submit(id, id == 1 || id == other || id == 13);
    trial.run();
    EXPECT_EQ(std::set<uint64_t>(trial.convicted.begin(), trial.convicted.end()), (std::set<uint64_t>{1, other, 13}));
    EXPECT_EQ(trial.journal.size(), 20 - trial.convicted.size());
  }
}

TEST(Journal, suspects_nobody_for_whom_the_engine_computed_nothing) {
  Journal journal;
  journal.add(make(1));
  journal.add(make(2));
  for (int i = 0; i < 5; ++i) {
    for (const RequestId id : journal.take_due()) (void)journal.hand_over(id);
    EXPECT_FALSE(journal.record({.id = {2}}).has_value());   // it waits
    EXPECT_FALSE(journal.record({.id = {1}, .num_cached_tokens = 0}).has_value());
    (void)journal.record({.id = {1}, .tokens = {1}});
    journal.note_engine_death();
    EXPECT_TRUE(journal.convict().empty());
  }
  EXPECT_EQ(journal.num_suspects(), 0);
  EXPECT_EQ(journal.find({2})->num_deaths, 0);
}

// Engines that die after a token or two of others, when one sequence has just been handed over: whether they read that
// one before is chance, so it gets an engine of its own before it is blamed.
TEST(Journal, convicts_nobody_who_came_to_an_engine_that_had_others) {
  Journal journal;
  for (uint64_t id = 1; id <= 3; ++id) journal.add(make(id));
  const std::vector<std::vector<RequestId>> moved_in_life{{{1}, {2}}, {{1}}, {{2}}};
  for (const std::vector<RequestId>& moved : moved_in_life) {
    for (const RequestId id : journal.take_due()) (void)journal.hand_over(id);
    for (const RequestId id : moved) (void)journal.record({.id = id, .tokens = {1}});
    for (const RequestId id : journal.take_due()) (void)journal.hand_over(id);
    journal.note_engine_death();
    EXPECT_TRUE(journal.convict().empty());
  }
  EXPECT_EQ(journal.take_due(), (std::vector<RequestId>{{3}}));
}

TEST(Journal, convicts_nobody_who_was_alone_because_the_others_had_ended) {
  Journal journal;
  journal.add(make(100));
  for (uint64_t id = 1; id <= 5; ++id) {
    journal.add(make(id));
    (void)journal.hand_over({id});
    (void)journal.record({.id = {id}, .tokens = {1}, .finish = FinishReason::kLength});
    (void)journal.hand_over({100});
    journal.note_engine_death();
    EXPECT_TRUE(journal.convict().empty()) << "life " << id;
  }
}

TEST(Journal, holds_newcomers_while_it_searches) {
  Journal journal;
  journal.add(make(1));
  journal.add(make(2));
  for (int i = 0; i < 2; ++i) {
    for (const RequestId id : journal.take_due()) (void)journal.hand_over(id);
    journal.note_engine_death();
  }
  EXPECT_EQ(journal.take_due(), (std::vector<RequestId>{{1}}));
  journal.add(make(3));
  EXPECT_TRUE(journal.take_due({3}).empty());
  (void)journal.hand_over({1});
  (void)journal.record({.id = {1}, .tokens = {1}});
  EXPECT_EQ(journal.take_due(), (std::vector<RequestId>{{2}}));
  (void)journal.hand_over({2});
  (void)journal.record({.id = {2}, .tokens = {1}});
  EXPECT_EQ(journal.take_due(), (std::vector<RequestId>{{3}}));
}

}  // namespace
}  // namespace gale
