#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace gale {

class Job {
 public:
  virtual ~Job() = default;
  virtual void run() = 0;

 private:
  friend class JobQueue;
  std::shared_ptr<Job> next_;          // behind it in the queue that holds it
};

// First in, first out. The jobs themselves are the links: to queue one takes no memory and cannot fail.
class JobQueue {
 public:
  JobQueue() = default;
  JobQueue(JobQueue&& other) noexcept
      : first_(std::move(other.first_)), last_(std::exchange(other.last_, nullptr)) {}
  JobQueue& operator=(JobQueue&&) = delete;
  ~JobQueue() { clear(); }
  [[nodiscard]] bool empty() const { return first_ == nullptr; }
  void push(std::shared_ptr<Job> job) noexcept;
  void push(JobQueue jobs) noexcept;
  [[nodiscard]] std::shared_ptr<Job> pop() noexcept;   // null: it is empty
  void clear() noexcept;

 private:
  std::shared_ptr<Job> first_;         // shared: a job may be cancelled while it waits here
  Job* last_ = nullptr;
};

// The threads that turn text into tokens and back. Answers that are under way go before new prompts, and new prompts
// never take all threads (if there are two): a long prompt does not hold up the streams. The queues are bounded by what
// is put in: each live request at most once. A job is in one queue at a time.
class WorkerPool {
 public:
  explicit WorkerPool(int num_threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  enum class Kind { kOutput, kPrompt };
  void add(std::shared_ptr<Job> job, Kind kind) noexcept;

  // Output jobs that come together, for one thread: flush() and the destructor put them in. Workers that are woken for
  // each would fall asleep again between two of them.
  class Burst {
   public:
    explicit Burst(WorkerPool& pool) : pool_(pool) {}
    Burst(const Burst&) = delete;
    Burst& operator=(const Burst&) = delete;
    ~Burst() { flush(); }
    void add(std::shared_ptr<Job> job) noexcept;
    void flush() noexcept;

   private:
    WorkerPool& pool_;
    JobQueue jobs_;
    int num_jobs_ = 0;
  };

  // Runs what is queued and what that adds, then ends the threads. Jobs that come later are dropped.
  void stop();

 private:
  void work();
  [[nodiscard]] bool may_take_prompt() const;

  const int num_threads_;
  std::mutex mutex_;   // guards what follows
  std::condition_variable wake_;
  JobQueue outputs_, prompts_;
  int num_in_prompts_ = 0;
  int num_asleep_ = 0;
  bool is_stopping_ = false;
  bool has_stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace gale
