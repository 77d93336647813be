#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace gale {

// A few threads for work that would hold up an I/O thread. Ends by finishing what was accepted.
class TaskPool {
 public:
  TaskPool(int num_threads, size_t capacity) : queue_(capacity) {
    try {
      for (int i = 0; i < num_threads; ++i) {
        threads_.emplace_back([this] {
          while (auto task = queue_.pop()) (*task)();
        });
      }
    } catch (...) {   // those that began use this object
      stop();
      throw;
    }
  }
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;
  ~TaskPool() { stop(); }

  // False if too much is waiting already.
  [[nodiscard]] bool try_run(std::function<void()> task) { return queue_.try_push(task); }

 private:
  void stop() {
    queue_.close();
    for (auto& thread : threads_) thread.join();
  }

  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace gale
