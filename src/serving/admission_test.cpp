#include "serving/admission.h"

#include <gtest/gtest.h>

#include <set>

#include "serving/restart_policy.h"
#include "serving/seed.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr EngineCapacity kTwoAtOnce{.max_num_seqs = 2, .num_cache_tokens = 100};

TEST(Admission, bounds_sequences_and_frees_their_places) {
  FakeClock clock;
  Admission admission({.queue_factor = 2}, clock, 1);
  std::vector<Admission::Slot> slots;
  for (int i = 0; i < 3; ++i) slots.push_back(*admission.admit(2, 1, kTwoAtOnce));
  EXPECT_EQ(admission.admit(1, 1, kTwoAtOnce).error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(admission.num_live_requests(), 3);
  slots.pop_back();
  EXPECT_TRUE(admission.admit(2, 1, kTwoAtOnce).has_value());
  EXPECT_EQ(admission.admit(7, 1, kTwoAtOnce).error().param, "n");   // would never fit
  slots.clear();
  EXPECT_EQ(admission.num_live_requests(), 0);
}

TEST(Admission, bounds_prompt_tokens_by_their_true_number) {
  FakeClock clock;
  Admission admission({.max_prompt_tokens = 100}, clock, 1);
  auto alone = admission.admit(1, 1000, kTwoAtOnce);
  ASSERT_TRUE(alone.has_value());   // a lone request is the context's concern
  EXPECT_EQ(admission.admit(1, 1, kTwoAtOnce).error().code, ErrorCode::kOverloaded);
  alone->correct_prompt_tokens(60);
  EXPECT_TRUE(admission.admit(1, 40, kTwoAtOnce).has_value());
  EXPECT_FALSE(admission.admit(1, 41, kTwoAtOnce).has_value());
}

TEST(Admission, asks_to_wait_as_long_as_the_queue_is) {
  FakeClock clock;
  Admission admission({}, clock, 1);
  for (int i = 0; i < 20; ++i) {   // one end a second
    clock.advance(seconds(1));
    (void)admission.admit(1, 1, kTwoAtOnce);
  }
  std::set<int> idle, busy;
  for (int i = 0; i < 50; ++i) idle.insert(admission.retry_after_s());
  std::vector<Admission::Slot> slots;
  for (int i = 0; i < 9; ++i) slots.push_back(*admission.admit(1, 1, kTwoAtOnce));
  for (int i = 0; i < 50; ++i) busy.insert(admission.retry_after_s());
  EXPECT_LE(*idle.rbegin(), 3);
  EXPECT_GE(*idle.begin(), 1);
  EXPECT_GE(*busy.begin(), 5);
  EXPECT_LE(*busy.rbegin(), 12);
  EXPECT_GT(busy.size(), 2U);   // clients do not all come back at once
}

TEST(Admission, a_fuse_bounds_requests_whatever_they_are) {
  FakeClock clock;
  Admission admission({.queue_factor = 100, .max_live_requests = 3}, clock, 1);
  std::vector<Admission::Slot> slots;
  for (int i = 0; i < 3; ++i) slots.push_back(*admission.admit(1, 1, kTwoAtOnce));
  EXPECT_EQ(admission.admit(1, 1, kTwoAtOnce).error().code, ErrorCode::kOverloaded);
  slots.pop_back();
  EXPECT_TRUE(admission.admit(1, 1, kTwoAtOnce).has_value());
}

TEST(Admission, refuses_who_would_wait_too_long_as_things_go) {
  FakeClock clock;
  Admission admission({.queue_factor = 100, .max_wait_s = 30}, clock, 1);
  for (int i = 0; i < 20; ++i) {   // one end in ten seconds
    clock.advance(seconds(10));
    (void)admission.admit(1, 1, kTwoAtOnce);
  }
  std::vector<Admission::Slot> slots;
  for (int i = 0; i < 4; ++i) slots.push_back(*admission.admit(1, 1, kTwoAtOnce));   // two run, two wait 10 and 20 s
  EXPECT_TRUE(admission.admit(1, 1, kTwoAtOnce).has_value());                        // 30 s
  EXPECT_EQ(admission.admit(2, 1, kTwoAtOnce).error().code, ErrorCode::kOverloaded);
}

TEST(Admission, limits_each_key) {
  FakeClock clock;
  Admission admission({.tenants = {.max_live_requests = 1}}, clock, 1);
  auto first = admission.admit(1, 1, kTwoAtOnce, "a");
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(admission.admit(1, 1, kTwoAtOnce, "a").error().code, ErrorCode::kOverloaded);
  EXPECT_TRUE(admission.admit(1, 1, kTwoAtOnce, "b").has_value());
  *first = {};
  EXPECT_TRUE(admission.admit(1, 1, kTwoAtOnce, "a").has_value());
}

TEST(RestartPolicy, restarts_at_once_then_waits_longer_and_gives_up_at_last) {
  RestartPolicy policy({});
  std::vector<Duration> delays;
  for (int i = 0; i < 4; ++i) {
    const auto decision = policy.on_death();
    EXPECT_FALSE(decision.gives_up);
    delays.push_back(decision.delay);
  }
  EXPECT_EQ(delays, (std::vector<Duration>{seconds(0), milliseconds(500), seconds(1), seconds(2)}));
  EXPECT_TRUE(policy.on_death().gives_up);
  EXPECT_EQ(policy.on_death().delay, seconds(30));
}

TEST(RestartPolicy, progress_forgives) {
  RestartPolicy policy({});
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(policy.on_death().delay, seconds(0));
    policy.note_progress();
  }
}

TEST(RestartPolicy, a_refused_load_is_not_tried_in_a_hurry) {
  RestartPolicy policy({});
  EXPECT_TRUE(policy.on_refused_load().gives_up);
  EXPECT_EQ(policy.on_death().delay, seconds(30));
}

TEST(ChoiceSeed, is_the_requests_own_for_the_first_and_different_for_the_others) {
  std::set<uint64_t> seeds;
  for (const uint64_t seed : {0ULL, 1ULL, 42ULL}) {
    EXPECT_EQ(choice_seed(seed, 0), seed);
    for (int choice = 0; choice < 100; ++choice) seeds.insert(choice_seed(seed, choice));
  }
  EXPECT_EQ(seeds.size(), 300U);
}

}  // namespace
}  // namespace gale
