#include "serving/deadlines.h"

#include <utility>

#include "base/no_memory.h"

namespace gale {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

Deadlines::Deadlines() = default;

Deadlines::~Deadlines() { stop(); }

void Deadlines::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Deadlines::add(Duration from_now, std::weak_ptr<DeadlineHolder> holder) {
  {
    std::lock_guard lock(mutex_);
    if (is_stopping_) return;
    holders_.emplace(now() + from_now, std::move(holder));
    if (!thread_.joinable()) thread_ = std::thread([this] { watch(); });
  }
  wake_.notify_all();
}

void Deadlines::watch() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    if (holders_.empty()) {
      wake_.wait(lock);
      continue;
    }
    if (const TimePoint next = holders_.begin()->first; now() < next) {
      wake_.wait_until(lock, next);
      continue;
    }
    const std::weak_ptr<DeadlineHolder> due = std::move(holders_.begin()->second);
    holders_.erase(holders_.begin());
    lock.unlock();
    const std::shared_ptr<DeadlineHolder> holder = due.lock();
    if (holder) when_there_is_memory([&] { holder->on_deadline(); });
    lock.lock();
  }
}

}  // namespace gale
