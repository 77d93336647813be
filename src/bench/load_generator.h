#pragma once

#include <string>

#include "base/result.h"
#include "bench/bench_config.h"
#include "bench/measurement.h"

namespace gale {

struct LoadTestResult {
  Measurement measurement;
  std::string model;
};

// Runs a load test against a server over HTTP with server-sent events, one thread a request under way: waits for the
// server, warms up, measures. Prompts are random token ids that no other request of the run shares.
[[nodiscard]] Result<LoadTestResult> run_load_test(const BenchConfig& config);

}  // namespace gale
