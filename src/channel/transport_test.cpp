#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "channel/channel.h"
#include "channel/codec.h"
#include "channel/socket_channel.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr milliseconds kSoon{60'000};

std::string framed(std::string_view content) {
  std::string frame;
  for (int i = 0; i < 4; ++i) frame.push_back(static_cast<char>((content.size() >> (8 * i)) & 0xFF));
  return frame.append(content);
}

const std::string kFrontHello = framed(encode_hello_to_front(Hello{}));

// The front's end, and a bare descriptor in the engine's place.
struct RawEngine {
  std::unique_ptr<FrontChannel> front;
  UniqueFd fd;

  void write(std::string_view bytes) const {
    ASSERT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
};

RawEngine make_raw_engine(milliseconds patience = milliseconds(5000)) {
  SocketPair sockets = std::move(*make_socket_pair());
  return {make_front_socket_channel(std::move(sockets.front), {.build_id = {}, .patience = patience}),
          std::move(sockets.engine)};
}

// Receives until something comes, or an error does.
template <class Channel>
auto receive_some(Channel& channel) -> decltype(channel.receive(kSoon)) {
  const auto give_up = steady_clock::now() + kSoon;
  while (steady_clock::now() < give_up) {
    auto messages = channel.receive(milliseconds(20));
    if (!messages || !messages->empty()) return messages;
  }
  return fail(ErrorCode::kDeadline, "nothing came");
}

InProcessChannel make_socket_ends() {
  SocketPair sockets = std::move(*make_socket_pair());
  return {.front = make_front_socket_channel(std::move(sockets.front), {}),
          .engine = make_engine_socket_channel(std::move(sockets.engine), {})};
}

class Transport : public testing::TestWithParam<InProcessChannel (*)()> {};
INSTANTIATE_TEST_SUITE_P(Both, Transport, testing::Values(&make_in_process_channel, &make_socket_ends),
                         [](const auto& info) { return info.index == 0 ? "in_process" : "socket"; });

TEST_P(Transport, messages_arrive_in_order_both_ways_at_once) {
  InProcessChannel ends = GetParam()();
  constexpr uint64_t kNumMessages = 5000;
  std::thread engine([&] {
    uint64_t next = 0;
    while (next < kNumMessages) {
      const auto commands = ends.engine->receive(milliseconds(100));
      ASSERT_TRUE(commands.has_value());
      for (const ToEngine& command : *commands) {
        ASSERT_EQ(std::get<Cancel>(command).id.value, next);
        ASSERT_TRUE(ends.engine->send(Stats{.step = next++}).has_value());
      }
    }
  });
  std::thread sender([&] {
    for (uint64_t i = 0; i < kNumMessages; ++i) ASSERT_TRUE(ends.front->send(Cancel{{i}}).has_value());
  });
  uint64_t next = 0;
  while (next < kNumMessages) {
    const auto answers = receive_some(*ends.front);
    ASSERT_TRUE(answers.has_value());
    for (const ToFront& answer : *answers) ASSERT_EQ(std::get<Stats>(answer).step, next++);
  }
  sender.join();
  engine.join();
}

TEST_P(Transport, receive_returns_empty_after_its_timeout) {
  InProcessChannel ends = GetParam()();
  EXPECT_TRUE(ends.front->receive(milliseconds(5))->empty());
  const auto begin = steady_clock::now();
  EXPECT_TRUE(ends.front->receive(milliseconds(30))->empty());
  EXPECT_GE(steady_clock::now() - begin, milliseconds(25));
}

TEST_P(Transport, what_was_sent_before_the_peer_left_is_still_received) {
  InProcessChannel ends = GetParam()();
  ASSERT_TRUE(ends.engine->send(Stats{.step = 3}).has_value());
  ends.engine.reset();
  EXPECT_EQ(std::get<Stats>(receive_some(*ends.front)->front()).step, 3U);
  EXPECT_EQ(receive_some(*ends.front).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(ends.front->send(Cancel{{1}}).error().code, ErrorCode::kUnavailable);
}

TEST_P(Transport, the_engine_sees_the_front_leave) {
  InProcessChannel ends = GetParam()();
  ends.front.reset();
  EXPECT_EQ(receive_some(*ends.engine).error().code, ErrorCode::kUnavailable);
}

TEST(SocketChannel, a_message_in_single_bytes_is_put_together) {
  RawEngine engine = make_raw_engine();
  const std::string bytes =
      kFrontHello + framed(encode(ToFront(Stats{.step = 9}))) + framed(encode(ToFront(Stats{.step = 10})));
  std::vector<ToFront> received;
  for (const char byte : bytes) {
    engine.write({&byte, 1});
    auto messages = engine.front->receive(milliseconds(0));
    ASSERT_TRUE(messages.has_value());
    received.insert(received.end(), messages->begin(), messages->end());
  }
  EXPECT_EQ(received, (std::vector<ToFront>{Stats{.step = 9}, Stats{.step = 10}}));
}

TEST(SocketChannel, a_message_larger_than_the_socket_buffer_arrives_whole) {
  InProcessChannel ends = make_socket_ends();
  const Submit large{.id = {1}, .prompt = std::vector<TokenId>(1'000'000, 150'000)};
  std::thread sender([&] { EXPECT_TRUE(ends.front->send(large).has_value()); });
  const auto received = receive_some(*ends.engine);
  sender.join();
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(std::get<Submit>(received->front()), large);
}

TEST(SocketChannel, a_peer_that_vanishes_at_any_byte_is_gone) {
  const std::string bytes = kFrontHello + framed(encode(ToFront(Ready{"m", 8, 8, 8, 8, 8, 1})));
  for (size_t length = 0; length < bytes.size(); ++length) {
    RawEngine engine = make_raw_engine();
    engine.write(std::string_view(bytes).substr(0, length));
    engine.fd.reset();
    const auto received = receive_some(*engine.front);
    ASSERT_FALSE(received.has_value()) << length;
    EXPECT_EQ(received.error().code, ErrorCode::kUnavailable) << length;
  }
}

TEST(SocketChannel, an_engine_of_another_version_is_refused_in_words) {
  RawEngine engine = make_raw_engine();
  engine.write(framed(encode_hello_to_front(Hello{.protocol_version = kProtocolVersion + 1})));
  const auto received = receive_some(*engine.front);
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code, ErrorCode::kUnimplemented);
  EXPECT_THAT(received.error().message,
              HasSubstr(fmt::format("the engine speaks channel protocol {}, this process speaks {}",
                                    kProtocolVersion + 1, kProtocolVersion)));
  EXPECT_EQ(engine.front->send(Cancel{{1}}).error().code, ErrorCode::kUnavailable);
}

TEST(SocketChannel, nonsense_ends_the_connection) {
  const std::string cases[] = {
      framed(encode(ToFront(Stats{}))),                 // no hello first
      kFrontHello + framed("\xFF\xFF\xFF"),             // no protobuf
      kFrontHello + framed(""),                         // no message
      kFrontHello + std::string("\xFF\xFF\xFF\x7F", 4)  // two gigabytes to come
  };
  for (const std::string& bytes : cases) {
    RawEngine engine = make_raw_engine();
    engine.write(bytes);
    const auto received = receive_some(*engine.front);
    ASSERT_FALSE(received.has_value());
    EXPECT_EQ(received.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(engine.front->send(Cancel{{1}}).error().code, ErrorCode::kUnavailable);
  }
}

TEST(SocketChannel, a_peer_that_does_not_read_counts_as_gone) {
  RawEngine engine = make_raw_engine(milliseconds(100));
  const Submit large{.id = {1}, .prompt = std::vector<TokenId>(4'000'000, 150'000)};
  const auto begin = steady_clock::now();
  const Status sent = engine.front->send(large);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(sent.error().message, HasSubstr("does not read"));
  EXPECT_LT(steady_clock::now() - begin, kSoon);
  EXPECT_EQ(receive_some(*engine.front).error().code, ErrorCode::kUnavailable);
}

TEST(SocketChannel, a_message_over_the_limit_is_refused_and_the_connection_lives) {
  InProcessChannel ends = make_socket_ends();
  const Submit huge{.id = {1}, .prompt = {1}, .grammar = std::string(kMaxMessageBytes, 'x')};
  EXPECT_EQ(ends.front->send(huge).error().code, ErrorCode::kTooLarge);
  ASSERT_TRUE(ends.front->send(Cancel{{4}}).has_value());
  EXPECT_EQ(std::get<Cancel>(receive_some(*ends.engine)->front()), Cancel{{4}});
}

TEST(SocketChannel, only_a_socket_is_taken_as_inherited_channel) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const UniqueFd reader(pipe_ends[0]), writer(pipe_ends[1]);
  EXPECT_EQ(open_inherited_engine_channel(reader.get(), {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(open_inherited_engine_channel(-1, {}).error().param, "channel-fd");
}

}  // namespace
}  // namespace gale
