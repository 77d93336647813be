#include "net/call_memory.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>

namespace gale {
namespace {

TEST(CallMemoryTest, one_call_lies_in_it_and_those_beside_it_elsewhere) {
  CallMemory memory;
  void* const first = memory.take(100);
  void* const second = memory.take(100);
  EXPECT_NE(first, second);
  memory.give_back(first);
  EXPECT_EQ(memory.take(100), first);
  memory.give_back(second);
  void* const large = memory.take(1 << 20);   // while the first is taken, and too large anyway
  EXPECT_NE(large, first);
  memory.give_back(large);
  memory.give_back(first);
}

TEST(CallMemoryTest, a_task_may_begin_the_next_in_the_same_memory) {
  CallMemory memory;
  boost::asio::io_context context{1};
  int num_runs = 0;
  std::function<void()> task = [&] {
    void* const free = memory.take(1);   // Asio has let go of it before the task runs
    memory.give_back(free);
    void* const again = memory.take(1);
    EXPECT_EQ(again, free);
    memory.give_back(again);
    if (++num_runs < 3) boost::asio::post(context, in_memory(memory, [&] { task(); }));
  };
  boost::asio::post(context, in_memory(memory, [&] { task(); }));
  context.run();
  EXPECT_EQ(num_runs, 3);
}

}  // namespace
}  // namespace gale
