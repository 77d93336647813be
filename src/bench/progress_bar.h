#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

namespace gale {

// How far a run is, on stderr, if that is a terminal and the run takes longer than a second.
class ProgressBar {
 public:
  ProgressBar(bool is_wanted, const std::atomic<size_t>& num_done, size_t num_all) {
    if (is_wanted && ::isatty(STDERR_FILENO) == 1)
      thread_ = std::thread([this, &num_done, num_all] { run(num_done, num_all); });
  }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run(const std::atomic<size_t>& num_done, size_t num_all) {
    constexpr int kCells = 40;
    bool is_shown = false;
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::seconds(1), [this] { return is_over_; })) {
      const size_t done = num_done;
      const int filled = static_cast<int>(kCells * done / num_all);
      std::fprintf(stderr, "\r[%.*s%*s] %zu of %zu", filled, "########################################",
                   kCells - filled, "", done, num_all);
      is_shown = true;
    }
    if (is_shown) std::fprintf(stderr, "\r%*s\r", kCells + 40, "");
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace gale
