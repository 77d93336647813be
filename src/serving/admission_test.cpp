#include "serving/admission.h"

#include <gtest/gtest.h>

#include <deque>
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

// One sequence after the other ends, `interval` apart, and the next takes its place at once.
void serve_full(Admission& admission, FakeClock& clock, std::deque<Admission::Slot>& slots, Duration interval) {
  for (int i = 0; i < 100; ++i) {
    clock.advance(interval);
    slots.pop_front();
    slots.push_back(*admission.admit(1, 1, kTwoAtOnce));
  }
}

TEST(Admission, asks_to_wait_as_long_as_the_queue_is) {
  FakeClock clock;
  Admission admission({}, clock, 1);
  std::deque<Admission::Slot> slots;
  for (int i = 0; i < 2; ++i) slots.push_back(*admission.admit(1, 1, kTwoAtOnce));
  serve_full(admission, clock, slots, seconds(1));
  std::set<int> alone, busy;
  for (int i = 0; i < 50; ++i) alone.insert(admission.retry_after_s());
  for (int i = 0; i < 7; ++i) slots.push_back(*admission.admit(1, 1, kTwoAtOnce));
  for (int i = 0; i < 50; ++i) busy.insert(admission.retry_after_s());
  EXPECT_LE(*alone.rbegin(), 3);
  EXPECT_GE(*alone.begin(), 1);
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
  std::deque<Admission::Slot> slots;
  for (int i = 0; i < 4; ++i) slots.push_back(*admission.admit(1, 1, kTwoAtOnce));   // two run, two wait 10 and 20 s
  serve_full(admission, clock, slots, seconds(10));
  EXPECT_EQ(admission.admit(2, 1, kTwoAtOnce).error().code, ErrorCode::kOverloaded);   // 40 s
  EXPECT_TRUE(admission.admit(1, 1, kTwoAtOnce).has_value());                          // 30 s, or little less
}

TEST(Admission, a_quiet_night_says_nothing_of_the_first_burst) {
  FakeClock clock;
  Admission admission({.queue_factor = 100, .max_wait_s = 30}, clock, 1);
  for (int i = 0; i < 64; ++i) {   // one in ten minutes, and places were free all the time
    auto lone = admission.admit(1, 1, kTwoAtOnce);
    clock.advance(seconds(5));
    lone = {};
    clock.advance(seconds(600));
  }
  std::vector<Admission::Slot> slots;
  for (int i = 0; i < 20; ++i) {
    auto slot = admission.admit(1, 1, kTwoAtOnce);
    ASSERT_TRUE(slot) << i << ": " << slot.error().message;
    slots.push_back(*std::move(slot));
  }
}

TEST(Admission, under_lasting_overload_only_a_short_wait_is_taken) {
  FakeClock clock;
  Admission admission({.queue_factor = 100, .overload_wait = milliseconds(1500)}, clock, 1);
  std::deque<Admission::Slot> slots;
  const auto fill = [&] {
    while (slots.size() < 50) {
      auto slot = admission.admit(1, 1, kTwoAtOnce);
      if (!slot) break;
      slots.push_back(*std::move(slot));
    }
    return std::ssize(slots) - kTwoAtOnce.max_num_seqs;   // who wait
  };
  EXPECT_EQ(fill(), 48);   // a burst
  for (int i = 0; i < 100; ++i) {
    clock.advance(seconds(1));
    slots.pop_front();
    (void)fill();
  }
  EXPECT_EQ(admission.admit(1, 1, kTwoAtOnce).error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(slots.size(), 3U);   // one waits, for a second
  slots.clear();
  clock.advance(seconds(3600));
  EXPECT_EQ(fill(), 48);   // the next burst
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
