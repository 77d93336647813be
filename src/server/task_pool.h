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
    for (int i = 0; i < num_threads; ++i) {
      threads_.emplace_back([this] {
        while (auto task = queue_.pop()) (*task)();
      });
    }
  }
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;
  ~TaskPool() {
    queue_.close();
    for (auto& thread : threads_) thread.join();
  }

  // False if too much is waiting already.
  [[nodiscard]] bool try_run(std::function<void()> task) { return queue_.try_push(task); }

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace gale
