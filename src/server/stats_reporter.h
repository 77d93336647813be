#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "server/serving_metrics.h"
#include "serving/pipeline.h"

namespace gale {

// Logs the throughput line every interval: at info while there is work, else at debug.
class StatsReporter {
 public:
  StatsReporter(const Pipeline& pipeline, ServingMetrics& metrics, std::chrono::seconds interval);
  StatsReporter(const StatsReporter&) = delete;
  StatsReporter& operator=(const StatsReporter&) = delete;
  ~StatsReporter();

 private:
  void run();
  void report();

  const Pipeline& pipeline_;
  ServingMetrics& metrics_;
  const std::chrono::seconds interval_;
  double last_prompt_ = 0, last_generated_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace gale
