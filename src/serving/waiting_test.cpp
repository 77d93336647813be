// Requests that wait for the first engine, as those of a server do that took over before it could load.
#include <atomic>

#include "serving/pipeline_testing.h"

namespace gale {
namespace {

class WaitingTest : public PipelineTest {
 protected:
  WaitingTest() {
    config_.expected = ExpectedEngine{.max_model_len = 100, .capacity = {.max_num_seqs = 8, .num_cache_tokens = 4096}};
    engine_.life = [this](int life) { return life == 1 ? first_ : FakeLife{}; };
    engine_.may_get_ready = [this](int) { return may_get_ready_.load(); };
  }
  void TearDown() override { pipeline_.reset(); }   // its engine may still ask whether it may get ready
  FakeLife first_;
  std::atomic<bool> may_get_ready_ = false;
};

TEST_F(WaitingTest, requests_wait_for_the_first_engine) {
  start();
  ASSERT_EQ(health(), Health::kLoading);
  std::vector<Client> clients(8);
  std::vector<std::unique_ptr<RequestHandle>> handles;
  for (Client& client : clients) handles.push_back(submit(request(10), client));
  may_get_ready_ = true;
  for (Client& client : clients) {
    client.wait();
    ASSERT_TRUE(client.usage());
    EXPECT_EQ(client.usage()->completion_tokens, 10);
  }
}

TEST_F(WaitingTest, what_is_too_long_for_the_expected_engine_is_refused_meanwhile) {
  start();
  Client client;
  run(request(5000), client);
  ASSERT_TRUE(client.failed());
  EXPECT_EQ(client.failed()->error.code, ErrorCode::kContextLength);
}

TEST_F(WaitingTest, a_first_engine_that_cannot_load_fails_who_waits) {
  first_.load_fault = Error{ErrorCode::kCorrupt, "the weights are broken"};
  start();
  Client client;
  const auto handle = submit(request(10), client);
  may_get_ready_ = true;
  client.wait();
  ASSERT_TRUE(client.failed());
  EXPECT_EQ(client.failed()->error.code, ErrorCode::kUnavailable);
}

TEST_F(WaitingTest, without_an_expectation_nobody_waits) {
  config_.expected.reset();
  start();
  Client client;
  EXPECT_EQ(pipeline_->submit(request(10), client.sink()).error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace gale
