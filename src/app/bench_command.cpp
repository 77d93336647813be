#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>

#include "app/commands.h"
#include "app/exit_code.h"
#include "base/mapped_file.h"
#include "bench/load_generator.h"
#include "bench/report.h"
#include "bench/sweep.h"
#include "bench/workload.h"

namespace gale {
namespace {

std::string local_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts)};
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) return fail(ErrorCode::kNotFound, "cannot write {}", path);
  std::printf("saved to %s\n", path.c_str());
  return {};
}

Status save(const BenchConfig& config, const LoadTestResult& result, const Report& report) {
  const std::string date = local_date();
  const std::string path = config.result_dir + "/" + result_file_name(config, result.model, date);
  Json figures = result_json(config, result, report, date);
  if (config.append_result) {          // a list of runs
    constexpr size_t kMaxBytes = size_t{1} << 30;
    Json runs = Json::array();
    if (std::ifstream(path).good()) {
      GALE_ASSIGN(const std::string text, read_file(path, kMaxBytes));
      GALE_ASSIGN(Json held, parse_json(text));
      if (held.is_array()) runs = std::move(held);
      else runs.push_back(std::move(held));
    }
    runs.push_back(std::move(figures));
    figures = std::move(runs);
  }
  return write_file(path, dump_json(figures) + "\n");
}

// One run, printed and saved.
Result<Report> run_once(const BenchConfig& config) {
  GALE_ASSIGN(const GoodputLimits limits, parse_goodput(config.goodput));
  GALE_ASSIGN(const LoadTestResult result, run_load_test(config));
  Report figures = make_report(result.measurement, config.metric_percentiles);
  if (!config.goodput.empty()) figures.request_goodput = goodput_of(result.measurement, limits);
  std::fputs(print_report(config, figures, result.measurement.duration).c_str(), stdout);
  std::fputs(print_client_cost(result.measurement, static_cast<int>(std::thread::hardware_concurrency())).c_str(),
             stdout);
  for (const RequestRecord& request : result.measurement.requests) {
    if (request.succeeded) continue;
    std::printf("the first failure: %s\n", request.error.c_str());
    break;
  }
  if (config.save_result || config.append_result) GALE_TRY(save(config, result, figures));
  return figures;
}

Result<int> run_sweep(const BenchConfig& config) {
  std::vector<SweepPoint> points;
  int num_failed = 0;
  for (const int concurrency : config.sweep) {
    BenchConfig one = config;
    one.max_concurrency = concurrency;
    one.seed = config.seed + points.size();   // other prompts, which no cache knows
    GALE_ASSIGN(Report figures, run_once(one));
    num_failed += figures.failed;
    points.push_back({concurrency, std::move(figures)});
  }
  std::fputs(sweep_table(points, config.metric_percentiles.empty() ? 0 : config.metric_percentiles.back()).c_str(),
             stdout);
  if (!config.sweep_plot.empty()) {
    GALE_TRY(write_file(
        config.sweep_plot,
        sweep_svg(points, fmt::format("{}: {} prompts of {} tokens a run, {} tokens out", config.label,
                                      config.num_prompts, config.random_input_len, config.random_output_len))));
  }
  return num_failed;
}

}  // namespace

int run_bench(const Config& config) {
  if (!config.bench.sweep.empty()) {
    const Result<int> num_failed = run_sweep(config.bench);
    return num_failed ? (*num_failed == 0 ? 0 : 1) : report(num_failed.error());
  }
  const Result<Report> figures = run_once(config.bench);
  return figures ? (figures->failed == 0 ? 0 : 1) : report(figures.error());
}

int run_bench_throughput(const Config& config) {
  const Result<LoadTestResult> result = run_load_test(config.bench);
  if (!result) return report(result.error());
  const Report figures = make_report(result->measurement, {});
  const double duration = result->measurement.duration;
  std::printf("Throughput: %.2f requests/s, %.2f total tokens/s, %.2f output tokens/s\n", figures.request_throughput,
              figures.total_throughput, figures.output_throughput);
  std::printf("Total num prompt tokens:  %lld\nTotal num output tokens:  %lld\n",
              static_cast<long long>(figures.input_tokens), static_cast<long long>(figures.output_tokens));
  std::fputs(print_client_cost(result->measurement, static_cast<int>(std::thread::hardware_concurrency())).c_str(),
             stdout);
  if (!config.latency.output_json.empty()) {
    const Json json{{"elapsed_time", duration},
                    {"num_requests", figures.completed},
                    {"total_num_tokens", figures.input_tokens + figures.output_tokens},
                    {"requests_per_second", figures.request_throughput},
                    {"tokens_per_second", figures.total_throughput}};
    if (const Status written = write_file(config.latency.output_json, dump_json(json) + "\n"); !written)
      return report(written.error());
  }
  return figures.failed == 0 ? 0 : 1;
}

int run_bench_latency(const Config& config) {
  const Result<LatencyResult> result = run_latency_test(config.bench, config.latency);
  if (!result) return report(result.error());
  const std::vector<int> percentages = {10, 25, 50, 75, 90, 99};
  const Summary summary = summarize(result->seconds, percentages);
  std::printf("Avg latency: %.6f seconds\n", summary.mean);
  Json percentiles = Json::object();
  for (size_t i = 0; i < percentages.size(); ++i) {
    std::printf("%d%% percentile latency: %.6f seconds\n", percentages[i], summary.percentiles[i]);
    percentiles[fmt::format("{}", percentages[i])] = summary.percentiles[i];
  }
  if (!config.latency.output_json.empty()) {
    const Json json{{"avg_latency", summary.mean}, {"latencies", result->seconds}, {"percentiles", percentiles}};
    if (const Status written = write_file(config.latency.output_json, dump_json(json) + "\n"); !written)
      return report(written.error());
  }
  return 0;
}

}  // namespace gale
