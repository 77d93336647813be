#include "serving/tenant_limits.h"

#include <gtest/gtest.h>

namespace gale {
namespace {

using std::chrono::seconds;

TEST(TenantLimits, a_key_has_so_many_at_once_and_others_have_their_own) {
  FakeClock clock;
  TenantLimits limits({.max_live_requests = 2});
  EXPECT_TRUE(limits.enter("a", clock.now()) && limits.enter("a", clock.now()));
  EXPECT_EQ(limits.enter("a", clock.now()).error().code, ErrorCode::kOverloaded);
  EXPECT_TRUE(limits.enter("b", clock.now()));
  limits.leave("a", clock.now());
  EXPECT_TRUE(limits.enter("a", clock.now()));
}

TEST(TenantLimits, a_key_comes_back_with_time) {
  FakeClock clock;
  TenantLimits limits({.requests_per_minute = 6});
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(limits.enter("a", clock.now()));
  EXPECT_FALSE(limits.enter("a", clock.now()));
  clock.advance(seconds(9));
  EXPECT_FALSE(limits.enter("a", clock.now()));
  clock.advance(seconds(2));
  EXPECT_TRUE(limits.enter("a", clock.now()));
  EXPECT_FALSE(limits.enter("a", clock.now()));
  clock.advance(seconds(600));
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(limits.enter("a", clock.now()));
  EXPECT_FALSE(limits.enter("a", clock.now()));
}

TEST(TenantLimits, say_what_a_key_has_left) {
  FakeClock clock;
  TenantLimits limits({.requests_per_minute = 6}), free({.max_live_requests = 1});
  EXPECT_FALSE(limits.rate_limit("a", clock.now()));
  EXPECT_TRUE(limits.enter("a", clock.now()) && free.enter("a", clock.now()));
  EXPECT_EQ(limits.rate_limit("a", clock.now()), (RateLimit{.limit = 6, .remaining = 5, .reset_s = 10}));
  EXPECT_FALSE(free.rate_limit("a", clock.now()));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(limits.enter("a", clock.now()));
  EXPECT_EQ(limits.rate_limit("a", clock.now()), (RateLimit{.limit = 6, .remaining = 0, .reset_s = 60}));
  clock.advance(seconds(15));
  EXPECT_EQ(limits.rate_limit("a", clock.now())->remaining, 1);
  clock.advance(seconds(600));
  EXPECT_EQ(limits.rate_limit("a", clock.now()), (RateLimit{.limit = 6, .remaining = 6, .reset_s = 0}));
}

TEST(TenantLimits, without_a_key_or_a_limit_nothing_is_counted) {
  FakeClock clock;
  TenantLimits limited({.max_live_requests = 1}), free({});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(limited.enter("", clock.now()) && free.enter("a", clock.now()));
  EXPECT_EQ(limited.num_known() + free.num_known(), 0u);
}

TEST(TenantLimits, made_up_keys_do_not_fill_the_memory) {
  FakeClock clock;
  TenantLimits limits({.max_live_requests = 1});
  for (int i = 0; i < 20'000; ++i) {
    const std::string key = std::to_string(i);
    EXPECT_TRUE(limits.enter(key, clock.now()));
    limits.leave(key, clock.now());
  }
  EXPECT_LT(limits.num_known(), 5000u);
}

}  // namespace
}  // namespace gale
