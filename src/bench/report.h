#pragma once

#include <string>

#include "base/json.h"
#include "bench/bench_config.h"
#include "bench/load_generator.h"
#include "bench/measurement.h"

namespace gale {

// The block that people and scripts read, in vLLM's form.
[[nodiscard]] std::string print_report(const BenchConfig& config, const Report& report, double duration);

// What measuring itself cost, and a warning where that falsifies the figures. `num_cores`: of this machine.
[[nodiscard]] std::string print_client_cost(const Measurement& measurement, int num_cores);

// The file of --save-result. `date`: yyyymmdd-hhmmss.
[[nodiscard]] Json result_json(const BenchConfig& config, const LoadTestResult& result, const Report& report,
                               const std::string& date);
[[nodiscard]] std::string result_file_name(const BenchConfig& config, const std::string& model,
                                           const std::string& date);

}  // namespace gale
