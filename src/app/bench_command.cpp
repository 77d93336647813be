#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>

#include "app/commands.h"
#include "app/exit_code.h"
#include "bench/load_generator.h"
#include "bench/report.h"

namespace gale {
namespace {

std::string local_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts)};
}

Status save(const BenchConfig& config, const LoadTestResult& result, const Report& report) {
  const std::string date = local_date();
  const std::string name = config.result_filename.empty() ? result_file_name(config, result.model, date) : config.result_filename;
  const std::string path = config.result_dir + "/" + name;
  std::ofstream file(path);
  file << dump_json(result_json(config, result, report, date)) << "\n";
  file.close();
  if (!file) return fail(ErrorCode::kNotFound, "cannot write {}", path);
  std::printf("saved to %s\n", path.c_str());
  return {};
}

}  // namespace

int run_bench(const Config& config) {
  const auto result = run_load_test(config.bench);
  if (!result) return report(result.error());
  const Report figures = make_report(result->measurement, config.bench.metric_percentiles);
  std::fputs(print_report(config.bench, figures, result->measurement.duration).c_str(), stdout);
  std::fputs(print_client_cost(result->measurement, static_cast<int>(std::thread::hardware_concurrency())).c_str(), stdout);
  if (config.bench.save_result) {
    if (const Status saved = save(config.bench, *result, figures); !saved) return report(saved.error());
  }
  return figures.failed == 0 ? 0 : 1;
}

}  // namespace gale
