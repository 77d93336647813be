#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace gale {

// A line of the log every few seconds while files come. Thread-safe.
class DownloadProgress {
 public:
  DownloadProgress(std::string name, uint64_t num_bytes);
  void add(uint64_t num_bytes);
  // What was there must come again.
  void take_back(uint64_t num_bytes);

 private:
  using Time = std::chrono::steady_clock::time_point;

  const std::string name_;
  const uint64_t num_all_;
  std::mutex mutex_;   // guards what follows
  uint64_t num_done_ = 0;
  uint64_t num_told_ = 0;   // at the last line
  Time told_at_;
};

}   // namespace gale
