#pragma once

#include <chrono>

#include "server/serving_metrics.h"
#include "server/ticker.h"
#include "serving/pipeline.h"

namespace gale {

// Logs the throughput line every interval: at info while there is work, else at debug.
class StatsReporter {
 public:
  StatsReporter(const Pipeline& pipeline, ServingMetrics& metrics, std::chrono::seconds interval);

 private:
  void report();

  const Pipeline& pipeline_;
  ServingMetrics& metrics_;
  const std::chrono::seconds interval_;
  double last_prompt_ = 0, last_generated_ = 0;
  Ticker ticker_;   // last: it uses the others at once
};

}  // namespace gale
