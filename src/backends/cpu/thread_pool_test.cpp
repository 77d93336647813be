#include "backends/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace gale {
namespace {

TEST(ThreadPool, covers_every_item_once_however_often_it_is_asked) {
  for (const int num_threads : {1, 2, 4}) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.num_threads(), num_threads);
    for (int round = 0; round < 2000; ++round) {
      const int64_t num_items = round % 37;
      std::vector<int> visits(static_cast<size_t>(num_items), 0);
      pool.parallel_for(num_items, 1 + round % 5, [&visits](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      for (const int count : visits) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, wakes_workers_that_fell_asleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));   // longer than workers spin
    std::atomic<int64_t> sum{0};
    pool.parallel_for(100, 1, [&sum](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sum += i;
    });
    ASSERT_EQ(sum.load(), 4950);
  }
}

TEST(ThreadPool, serves_two_callers_at_once) {
  ThreadPool pool(2);
  const auto caller = [&pool] {
    for (int round = 0; round < 500; ++round) {
      std::atomic<int64_t> sum{0};
      pool.parallel_for(64, 1, [&sum](int64_t begin, int64_t end) { sum += end - begin; });
      ASSERT_EQ(sum.load(), 64);
    }
  };
  std::jthread other(caller);
  caller();
}

TEST(ThreadPool, covers_every_item_with_more_threads_than_cores) {
  ThreadPool pool(4 * static_cast<int>(std::thread::hardware_concurrency()) + 1);
  for (int round = 0; round < 300; ++round) {
    const int64_t num_items = 1 + round % 200;
    std::vector<std::atomic<int>> visits(static_cast<size_t>(num_items));
    pool.parallel_for(num_items, 1, [&visits](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
    });
    for (const auto& count : visits) ASSERT_EQ(count.load(), 1);
  }
}

// CPU time of this thread.
std::chrono::nanoseconds busy_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

TEST(ThreadPool, sleeps_while_a_worker_is_late) {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> has_begun = false;
  std::chrono::nanoseconds before{};
  pool.parallel_for(2, 1, [&](int64_t, int64_t) {
    if (std::this_thread::get_id() != caller) {
      has_begun = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    } else {
      while (!has_begun) std::this_thread::sleep_for(std::chrono::microseconds(100));
      before = busy_time();
    }
  });
  EXPECT_LT(busy_time() - before, std::chrono::milliseconds(50));
}

}  // namespace
}  // namespace gale
