#include "server/key_guard.h"

#include <gtest/gtest.h>

namespace gale {
namespace {

using Verdict = KeyGuard::Verdict;

class KeyGuardTest : public testing::Test {
 protected:
  Verdict ask(KeyGuard& guard, const std::string& address, const std::string& key) {
    return guard.ask(address, key, [this](const std::string& k) { return ++num_read_, k == right_; });
  }
  FakeClock clock_;
  KeyGuard guard_{3, clock_};
  std::string right_ = "right";
  int num_read_ = 0;
};

TEST_F(KeyGuardTest, refuses_unread_what_an_address_tries_too_often) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(guard_, "a", "wrong"), Verdict::kWrong);
  num_read_ = 0;
  EXPECT_EQ(ask(guard_, "a", "wrong"), Verdict::kTooMany);
  EXPECT_EQ(ask(guard_, "a", "right"), Verdict::kTooMany) << "a guess must not learn that it was right";
  EXPECT_EQ(num_read_, 0);
  EXPECT_EQ(ask(guard_, "b", "right"), Verdict::kOpen) << "others are not hurt";
  EXPECT_EQ(guard_.seconds_to_wait(), 20);
  clock_.advance(std::chrono::seconds(20));
  EXPECT_EQ(ask(guard_, "a", "wrong"), Verdict::kWrong) << "three a minute";
  EXPECT_EQ(ask(guard_, "a", "wrong"), Verdict::kTooMany);
}

TEST_F(KeyGuardTest, lets_in_whom_it_knows_from_there) {
  EXPECT_EQ(ask(guard_, "gateway", "right"), Verdict::kOpen);
  for (int i = 0; i < 5; ++i) (void)ask(guard_, "gateway", "wrong");
  EXPECT_EQ(ask(guard_, "gateway", "wrong"), Verdict::kTooMany);
  EXPECT_EQ(ask(guard_, "gateway", "right"), Verdict::kOpen);
  right_ = "another";
  EXPECT_EQ(ask(guard_, "gateway", "right"), Verdict::kWrong) << "the key was taken away meanwhile";
}

TEST_F(KeyGuardTest, counts_no_request_without_a_key_and_may_be_turned_off) {
  for (int i = 0; i < 9; ++i) EXPECT_EQ(ask(guard_, "a", ""), Verdict::kWrong);
  EXPECT_EQ(ask(guard_, "a", "right"), Verdict::kOpen);
  KeyGuard off(0, clock_);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(ask(off, "a", "wrong"), Verdict::kWrong);
}

TEST_F(KeyGuardTest, remembers_a_bounded_number_of_addresses) {
  for (int i = 0; i < 3; ++i) (void)ask(guard_, "first", "wrong");
  for (int i = 0; i < 5000; ++i) {
    clock_.advance(std::chrono::microseconds(1));
    (void)ask(guard_, std::to_string(i), "wrong");
  }
  EXPECT_EQ(ask(guard_, "first", "wrong"), Verdict::kWrong) << "forgotten";
}

}  // namespace
}  // namespace gale
