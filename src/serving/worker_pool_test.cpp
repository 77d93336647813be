#include "serving/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <string>

namespace gale {
namespace {

class Task final : public Job {
 public:
  explicit Task(std::function<void()> work) : work_(std::move(work)) {}
  void run() override { work_(); }

 private:
  std::function<void()> work_;
};

std::shared_ptr<Job> task(std::function<void()> work) { return std::make_shared<Task>(std::move(work)); }

TEST(JobQueue, takes_the_jobs_of_another_queue_behind_its_own) {
  std::string order;
  JobQueue queue, more;
  for (const char name : {'a', 'b'}) queue.push(task([&order, name] { order += name; }));
  for (const char name : {'c', 'd'}) more.push(task([&order, name] { order += name; }));
  queue.push(std::move(more));
  queue.push(JobQueue());
  queue.push(task([&order] { order += 'e'; }));
  while (const std::shared_ptr<Job> job = queue.pop()) job->run();
  EXPECT_EQ(order, "abcde");
  queue.push(task([&order] { order += 'f'; }));
  queue.pop()->run();
  EXPECT_EQ(order, "abcdef");
}

TEST(WorkerPool, a_burst_wakes_workers_for_all_of_its_jobs) {
  WorkerPool pool(2);
  for (int round = 0; round < 200; ++round) {     // the workers are asleep, or about to be, or awake
    std::latch done(5);
    WorkerPool::Burst burst(pool);
    for (int i = 0; i < 5; ++i) {
      burst.add(task([&done] { done.count_down(); }));
      if (i == 2) burst.flush();
    }
    burst.flush();
    done.wait();
  }
}

TEST(WorkerPool, jobs_of_a_burst_run_beside_each_other) {
  WorkerPool pool(2);
  std::latch both(2);
  WorkerPool::Burst burst(pool);
  for (int i = 0; i < 2; ++i) burst.add(task([&both] { both.arrive_and_wait(); }));
  burst.flush();
  pool.stop();                                    // would wait for ever for one that waits alone
  EXPECT_TRUE(both.try_wait());
}

TEST(WorkerPool, a_burst_is_put_in_when_it_ends_and_dropped_behind_the_stop) {
  WorkerPool pool(1);
  std::atomic<int> num_run = 0;
  {
    WorkerPool::Burst burst(pool);
    burst.add(task([&num_run] { ++num_run; }));
  }
  pool.stop();
  EXPECT_EQ(num_run, 1);
  const std::shared_ptr<Job> late = task([&num_run] { ++num_run; });
  {
    WorkerPool::Burst burst(pool);
    burst.add(late);
  }
  EXPECT_EQ(num_run, 1);
  EXPECT_EQ(late.use_count(), 1);
}

}  // namespace
}  // namespace gale
