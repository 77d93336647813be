#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "bench/bench_config.h"
#include "bench/measurement.h"
#include "net/http_client.h"

namespace gale {

// A request before it is sent. The body is made ahead, so that making it costs the measurement nothing.
struct PlannedRequest {
  std::string body;
  double start = 0;                    // not before this second of the run
};

// The path that the backend is asked at.
[[nodiscard]] std::string endpoint_of(const BenchConfig& config);

// `count` requests of the dataset, at the times that rate, burstiness and ramp ask for. Equal seeds give equal plans.
// `client` is asked for lengths of texts. kInvalidArgument names the option or the dataset's line.
[[nodiscard]] Result<std::vector<PlannedRequest>> plan_requests(const BenchConfig& config, HttpClient& client,
                                                                const std::string& model, int vocab_size, int count,
                                                                uint64_t seed);

// Seconds of the run at which `count` requests start.
[[nodiscard]] std::vector<double> arrival_times(const BenchConfig& config, int count, uint64_t seed);

// Of --goodput; infinite where nothing is asked.
[[nodiscard]] Result<GoodputLimits> parse_goodput(const std::vector<std::string>& texts);

}  // namespace gale
