#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "base/clock.h"

namespace gale {

// Who is told that its time is over, on the thread of Deadlines; must not block.
class DeadlineHolder {
 public:
  virtual ~DeadlineHolder() = default;
  virtual void on_deadline() = 0;
};

// Tells holders when their time is over. One that is gone by then is not kept. Thread-safe.
class Deadlines {
 public:
  Deadlines();
  ~Deadlines();
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;

  void add(Duration from_now, std::weak_ptr<DeadlineHolder> holder);
  // Nobody is told any more once this has returned. Not from a holder.
  void stop();

 private:
  void watch();

  std::mutex mutex_;                   // guards what follows
  std::condition_variable wake_;
  std::multimap<TimePoint, std::weak_ptr<DeadlineHolder>> holders_;
  bool is_stopping_ = false;
  std::thread thread_;                 // started with the first deadline
};

}  // namespace gale
