#include "engine/mask_pool.h"

#include <algorithm>
#include <utility>

namespace gale {

MaskPool::MaskPool(int num_threads) {
  try {
    for (int i = 0; i < std::max(1, num_threads); ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {   // those that began use this object
    stop();
    throw;
  }
}

MaskPool::~MaskPool() { stop(); }

void MaskPool::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void MaskPool::add(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void MaskPool::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return is_stopping_ || !jobs_.empty(); });
    if (is_stopping_) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace gale
