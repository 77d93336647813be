#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace gale {

class Job {
 public:
  virtual ~Job() = default;
  virtual void run() = 0;
};

// The threads that turn text into tokens and back. Answers that are under way go before new prompts, and new prompts
// never take all threads (if there are two): a long prompt does not hold up the streams. The queues are bounded by what
// is put in: each live request at most once.
class WorkerPool {
 public:
  explicit WorkerPool(int num_threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  enum class Kind { kOutput, kPrompt };
  void add(std::shared_ptr<Job> job, Kind kind);

  // Runs what is queued and what that adds, then ends the threads. Jobs that come later are dropped.
  void stop();

 private:
  void work();
  [[nodiscard]] bool may_take_prompt() const;

  const int num_threads_;
  std::mutex mutex_;   // guards what follows
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> outputs_, prompts_;   // shared: a job may be cancelled while it waits here
  int num_in_prompts_ = 0;
  bool is_stopping_ = false;
  bool has_stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace gale
