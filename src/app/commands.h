#pragma once

#include <string>

#include "config/config.h"

namespace gale {

// Each runs one command to its end; the process's exit code.
[[nodiscard]] int run_serve(const Config& config, const std::string& program);
[[nodiscard]] int run_engine_process(const Config& config);
[[nodiscard]] int run_ui(const Config& config);
[[nodiscard]] int run_service(const Config& config);
[[nodiscard]] int run_chat(const Config& config);
[[nodiscard]] int run_bench(const Config& config);
[[nodiscard]] int run_bench_throughput(const Config& config);
[[nodiscard]] int run_bench_latency(const Config& config);
[[nodiscard]] int run_download(const Config& config);
[[nodiscard]] int run_inspect(const Config& config);
[[nodiscard]] int run_tune(const Config& config);
[[nodiscard]] int run_doctor(const Config& config);

}  // namespace gale
