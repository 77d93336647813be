#include "serving/worker_pool.h"

#include <algorithm>
#include <utility>

namespace gale {

void JobQueue::push(std::shared_ptr<Job> job) noexcept {
  Job* const added = job.get();
  (last_ == nullptr ? first_ : last_->next_) = std::move(job);
  last_ = added;
}

void JobQueue::push(JobQueue jobs) noexcept {
  if (jobs.empty()) return;
  (last_ == nullptr ? first_ : last_->next_) = std::move(jobs.first_);
  last_ = std::exchange(jobs.last_, nullptr);
}

std::shared_ptr<Job> JobQueue::pop() noexcept {
  std::shared_ptr<Job> job = std::move(first_);
  if (job) first_ = std::move(job->next_);
  if (!first_) last_ = nullptr;
  return job;
}

// One after the other: a chain that is released at its head would be released recursively.
void JobQueue::clear() noexcept {
  while (pop()) {}
}

WorkerPool::WorkerPool(int num_threads) : num_threads_(std::max(1, num_threads)) {
  try {
    for (int i = 0; i < num_threads_; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {   // those that began use this object
    stop();
    throw;
  }
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::add(std::shared_ptr<Job> job, Kind kind) noexcept {
  {
    std::lock_guard lock(mutex_);
    if (has_stopped_) return;
    (kind == Kind::kPrompt ? prompts_ : outputs_).push(std::move(job));
  }
  wake_.notify_one();
}

void WorkerPool::Burst::add(std::shared_ptr<Job> job) noexcept {
  jobs_.push(std::move(job));
  ++num_jobs_;
}

void WorkerPool::Burst::flush() noexcept {
  if (jobs_.empty()) return;
  const int num_jobs = std::exchange(num_jobs_, 0);
  int num_to_wake = 0;
  {
    std::lock_guard lock(pool_.mutex_);
    if (pool_.has_stopped_) return;
    pool_.outputs_.push(std::move(jobs_));
    num_to_wake = std::min(num_jobs, pool_.num_asleep_);
  }
  for (; num_to_wake > 0; --num_to_wake) pool_.wake_.notify_one();
}

void WorkerPool::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::lock_guard lock(mutex_);
  has_stopped_ = true;
  outputs_.clear();
}

bool WorkerPool::may_take_prompt() const {
  return !prompts_.empty() && num_in_prompts_ < std::max(1, num_threads_ - 1);
}

void WorkerPool::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++num_asleep_;
    wake_.wait(lock, [this] { return !outputs_.empty() || may_take_prompt() || (is_stopping_ && prompts_.empty()); });
    --num_asleep_;
    const bool takes_prompt = outputs_.empty();
    auto& queue = takes_prompt ? prompts_ : outputs_;
    if (queue.empty()) return;   // stopping, and nothing is left
    std::shared_ptr<Job> job = queue.pop();
    num_in_prompts_ += takes_prompt ? 1 : 0;
    lock.unlock();
    job->run();
    job.reset();
    lock.lock();
    num_in_prompts_ -= takes_prompt ? 1 : 0;
    if (takes_prompt) wake_.notify_all();   // somebody may have waited for the turn at prompts
  }
}

}  // namespace gale
