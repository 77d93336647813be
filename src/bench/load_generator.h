#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "bench/bench_config.h"
#include "bench/measurement.h"

namespace gale {

struct LoadTestResult {
  Measurement measurement;
  std::string model;
};

// Runs a load test against a server over HTTP with server-sent events, one thread a request under way: waits for the
// server, warms up, measures. What is sent: bench/workload.h.
[[nodiscard]] Result<LoadTestResult> run_load_test(const BenchConfig& config);

// Batches of equal requests, one batch after the other: how long each takes until its last token.
struct LatencyResult { std::vector<double> seconds; };
[[nodiscard]] Result<LatencyResult> run_latency_test(const BenchConfig& config, const LatencyConfig& latency);

}  // namespace gale
