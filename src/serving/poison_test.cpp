#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/temp_folder_testing.h"
#include "channel/codec.h"
#include "serving/pipeline_testing.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr TokenId kPoison = 666;

class PoisonTest : public PipelineTest {
 protected:
  PoisonTest() {
    engine_.life = [](int) { return FakeLife{.tokens_per_step = 1, .poison = kPoison}; };
    engine_.max_num_seqs = 32;
  }
  [[nodiscard]] static GenerateRequest poisoned(int max_tokens) {
    GenerateRequest out = request(max_tokens);
    out.prompt = TokenPrompt{{1, 2, kPoison}};
    return out;
  }
};

// One request of 32 kills every engine: it alone fails, the others say what they would have said.
TEST_F(PoisonTest, a_request_that_kills_engines_is_found_and_fails_alone) {
  start_and_wait();
  Client alone;
  run(request(30), alone);
  for (const int position : {0, 13, 31}) {
    start_and_wait();
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<std::unique_ptr<RequestHandle>> handles;
    for (int i = 0; i < 32; ++i) {
      clients.push_back(std::make_unique<Client>());
      handles.push_back(submit(i == position ? poisoned(30) : request(30), *clients.back()));
    }
    for (int i = 0; i < 32; ++i) {
      clients[i]->wait();
      if (i == position) {
        ASSERT_TRUE(clients[i]->failed().has_value());
        EXPECT_EQ(clients[i]->failed()->error.code, ErrorCode::kInternal);
        EXPECT_THAT(clients[i]->failed()->error.message, HasSubstr("in a row with this request"));
      } else {
        EXPECT_FALSE(clients[i]->failed().has_value()) << i << " of " << position;
        EXPECT_EQ(clients[i]->choices()[0].tokens, alone.choices()[0].tokens);
      }
    }
    EXPECT_LE(record().num_lives, 10);
    ASSERT_TRUE(wait_until([this] { return health() == Health::kReady; }));
  }
}

TEST_F(PoisonTest, requests_that_come_while_it_is_searched_for_are_served) {
  start_and_wait();
  Client poison, late;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<RequestHandle>> handles;
  for (int i = 0; i < 7; ++i) {
    clients.push_back(std::make_unique<Client>());
    handles.push_back(submit(request(300), *clients.back()));
  }
  handles.push_back(submit(poisoned(300), poison));
  ASSERT_TRUE(wait_until([this] { return record().num_lives >= 4; }));
  run(request(20), late);
  EXPECT_EQ(late.choices()[0].tokens.size(), 20U);
  poison.wait();
  EXPECT_TRUE(poison.failed().has_value());
  for (const auto& client : clients) {
    client->wait();
    EXPECT_EQ(client->choices()[0].tokens.size(), 300U);
  }
}

TEST_F(PoisonTest, a_search_ends_when_the_client_of_the_suspect_leaves) {
  start_and_wait();
  Client poison, other;
  auto bad = submit(poisoned(300), poison);
  const auto good = submit(request(40), other);
  ASSERT_TRUE(wait_until([this] { return record().num_lives >= 3; }));
  bad.reset();
  other.wait();
  EXPECT_EQ(other.choices()[0].tokens.size(), 40U);
}

TEST_F(PoisonTest, engines_that_die_over_everything_are_given_up) {
  config_.supervisor.restart.max_backoff = kLongEnough;
  engine_.life = [](int) { return FakeLife{.tokens_until_death = 0}; };
  std::atomic<bool> all_are_there = false;
  engine_.may_step = [&](int) { return all_are_there.load(); };
  start_and_wait();
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<RequestHandle>> handles;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>());
    handles.push_back(submit(request(30), *clients.back()));
  }
  all_are_there = true;
  for (const auto& client : clients) {
    client->wait();
    EXPECT_TRUE(client->failed().has_value());
  }
  ASSERT_TRUE(wait_until([this] { return health() == Health::kDead; }));
  EXPECT_LE(record().num_lives, 5 + 2 + 4);
}

// An engine that speaks by a script of the shell: what it says stands in a file.
class RawEngineTest : public PipelineTest {
 protected:
  static std::string framed(std::string_view content) {
    std::string frame;
    for (int i = 0; i < 4; ++i) frame.push_back(static_cast<char>((content.size() >> (8 * i)) & 0xFF));
    return frame.append(content);
  }
  void start_saying(const std::string& bytes, const std::string& then) {
    const std::string file = folder_.write("said", bytes);
    config_.supervisor.restart.max_backoff = kLongEnough;
    auto chat_template = ChatTemplate::load(kModelDir);
    ASSERT_TRUE(chat_template.has_value());
    pipeline_ = make_pipeline(config_, load_tokenizer(), std::move(*chat_template), GenerationDefaults{}, *clock_,
                              make_process_launcher({"/bin/sh", "-c", "cat " + file + " >&3; " + then}, "this build"));
    ASSERT_TRUE(wait_until([this] { return health() == Health::kDead; }));
  }
  void TearDown() override { pipeline_.reset(); }
  TempFolder folder_;
};

TEST_F(RawEngineTest, an_engine_of_another_version_is_given_up_with_the_cause) {
  start_saying(framed(encode_hello_to_front(Hello{.protocol_version = kProtocolVersion + 1})), "exec sleep 100");
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("start both from the same build"));
  EXPECT_EQ(pipeline_->status().num_engine_restarts, 1);   // the next would be of that version, too
  Client client;
  EXPECT_EQ(pipeline_->submit(request(3), client.sink()).error().code, ErrorCode::kUnavailable);
}

TEST_F(RawEngineTest, an_engine_that_dies_inside_a_message_is_one_that_died) {
  const std::string hello = framed(encode_hello_to_front(Hello{}));
  start_saying(hello + framed(encode(ToFront(Ready{"m", 8, 8, 8, 8, 8, 1}))).substr(0, 9), "exit 9");
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("exited with code 9"));
}

TEST_F(RawEngineTest, an_engine_that_stops_inside_a_message_is_killed_in_time) {
  const std::string hello = framed(encode_hello_to_front(Hello{}));
  config_.supervisor.load_timeout = milliseconds(500);
  start_saying(hello + framed(encode(ToFront(Ready{"m", 8, 8, 8, 8, 8, 1}))).substr(0, 9), "kill -STOP $$");
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("it is killed"));
}

TEST_F(RawEngineTest, an_engine_that_says_nonsense_is_replaced) {
  start_saying(framed(encode_hello_to_front(Hello{})) + framed("\xFF\xFF\xFF"), "exec sleep 100");
  EXPECT_THAT(pipeline_->status().reason, HasSubstr("no message"));
}

}  // namespace
}  // namespace gale
