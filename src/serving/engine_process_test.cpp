#include "serving/engine_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "channel/codec.h"
#include "channel/framed_socket.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr std::chrono::seconds kLongEnough{120};

std::unique_ptr<EngineProcess> start(const std::string& script) {
  auto engine = make_process_launcher({"/bin/sh", "-c", script}, "")();
  EXPECT_TRUE(engine.has_value());
  return std::move(*engine);
}

std::string ending_of(EngineProcess& engine) {
  const auto give_up = std::chrono::steady_clock::now() + kLongEnough;
  while (std::chrono::steady_clock::now() < give_up) {
    if (auto ending = engine.ending()) return *ending;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return "still alive";
}

TEST(EngineProcess, tells_how_it_ended) {
  EXPECT_EQ(ending_of(*start("exit 3")), "exited with code 3");
  EXPECT_THAT(ending_of(*start("kill -SEGV $$")), HasSubstr("killed by signal 11"));
}

TEST(EngineProcess, a_program_that_is_not_there_ends_at_once) {
  const auto engine = make_process_launcher({"/nonexistent/engine"}, "")();
  EXPECT_EQ(ending_of(**engine), "exited with code 127");
}

TEST(EngineProcess, the_channel_closes_when_the_process_ends) {
  const auto engine = start("exit 0");
  Result<std::vector<ToFront>> received;
  const auto give_up = std::chrono::steady_clock::now() + kLongEnough;
  while (received && std::chrono::steady_clock::now() < give_up) received = engine->channel().receive(milliseconds(20));
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code, ErrorCode::kUnavailable);
}

TEST(EngineProcess, kill_ends_a_stopped_engine) {
  const auto engine = start("kill -STOP $$; sleep 100");
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(engine->ending().has_value());
  engine->kill();
  EXPECT_THAT(ending_of(*engine), HasSubstr("signal 9"));
}

constexpr int kFirstCheckedFd = 3;
constexpr int kMaxCheckedFd = 1023;
constexpr int kNotOpen = 10;
constexpr int kOpen = 11;

// No test but the engine of the next one, which starts this program again: ends with 0 if the channel is open and
// nothing above it is. It looks at numbers, because a listing would need a descriptor of its own.
TEST(EngineChild, DISABLED_looks_at_its_descriptors) {
  for (int fd = kFirstCheckedFd; fd <= kMaxCheckedFd; ++fd) {
    const bool is_open = ::fcntl(fd, F_GETFD) >= 0;
    if (is_open != (fd == kFirstCheckedFd)) ::_exit(is_open ? kOpen : kNotOpen);
  }
  ::_exit(0);
}

TEST(EngineProcess, inherits_the_channel_and_nothing_else) {
  const UniqueFd null(::open("/dev/null", O_RDONLY));   // not closed on exec: a client's connection, say
  const UniqueFd high(::fcntl(null.get(), F_DUPFD, kMaxCheckedFd));
  ASSERT_EQ(high.get(), kMaxCheckedFd);
  const auto engine = make_process_launcher({"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                             "--gtest_filter=EngineChild.DISABLED_looks_at_its_descriptors"},
                                            "")();
  ASSERT_TRUE(engine.has_value());
  EXPECT_EQ(ending_of(**engine), "exited with code 0");
}

TEST(EngineProcess, an_engine_that_heeds_its_channel_leaves_by_itself) {
  std::chrono::steady_clock::duration fastest = kLongEnough;   // of some: the machine may be busy
  for (int i = 0; i < 20 && fastest >= milliseconds(1500); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    start("cat <&3 >/dev/null; exit 0").reset();
    fastest = std::min(fastest, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LT(fastest, milliseconds(1500));   // it would be killed after two seconds
}

}  // namespace
}  // namespace gale
