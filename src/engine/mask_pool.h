#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace gale {

// The threads that compute token masks while a step runs. The queue holds at most one job a live sequence, and a few
// more that read grammars.
class MaskPool {
 public:
  explicit MaskPool(int num_threads);
  ~MaskPool();                         // jobs that have not begun are dropped
  MaskPool(const MaskPool&) = delete;
  MaskPool& operator=(const MaskPool&) = delete;

  void add(std::function<void()> job);

 private:
  void stop();
  void work();

  std::mutex mutex_;                   // guards what follows
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace gale
