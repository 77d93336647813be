#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace gale {
namespace {

std::string line(std::string_view label, int64_t value) { return fmt::format("{:<40} {:<10}\n", label, value); }
std::string line(std::string_view label, double value) { return fmt::format("{:<40} {:<10.2f}\n", label, value); }

struct Section {
  std::string_view title;
  std::string_view name;               // "TTFT"
  const Summary& summary;
};

std::string print_section(const Section& section, const std::vector<int>& percentiles) {
  std::string out = fmt::format("{:-^50}\n", section.title);
  out += line(fmt::format("Mean {} (ms):", section.name), section.summary.mean);
  out += line(fmt::format("Median {} (ms):", section.name), section.summary.median);
  for (size_t i = 0; i < percentiles.size(); ++i) {
    out += line(fmt::format("P{} {} (ms):", percentiles[i], section.name), section.summary.percentiles[i]);
  }
  return out;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

Json rate_json(double rate) { return std::isinf(rate) ? Json("inf") : Json(rate); }

void add_summary(Json& out, std::string_view name, const Summary& summary, const std::vector<int>& percentiles) {
  out[fmt::format("mean_{}_ms", name)] = summary.mean;
  out[fmt::format("median_{}_ms", name)] = summary.median;
  out[fmt::format("std_{}_ms", name)] = summary.std;
  for (size_t i = 0; i < percentiles.size(); ++i) {
    out[fmt::format("p{}_{}_ms", percentiles[i], name)] = summary.percentiles[i];
  }
}

// One list a field, in the order of the requests.
void add_details(Json& out, const std::vector<RequestRecord>& requests) {
  Json input_lens = Json::array(), output_lens = Json::array(), ttfts = Json::array(), itls = Json::array(),
       start_times = Json::array(), errors = Json::array();
  for (const RequestRecord& request : requests) {
    input_lens.push_back(request.input_tokens);
    output_lens.push_back(request.output_tokens);
    ttfts.push_back(request.succeeded ? request.ttft() : 0.0);
    itls.push_back(request.gaps);
    start_times.push_back(request.start);
    errors.push_back(request.error);
  }
  out.update(Json{{"input_lens", input_lens}, {"output_lens", output_lens}, {"ttfts", ttfts}, {"itls", itls},
                  {"start_times", start_times}, {"errors", errors}});
}

}  // namespace

std::string print_report(const BenchConfig& config, const Report& report, double duration) {
  std::string out = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  out += line("Successful requests:", int64_t{report.completed});
  out += line("Failed requests:", int64_t{report.failed});
  if (config.max_concurrency > 0) out += line("Maximum request concurrency:", int64_t{config.max_concurrency});
  if (!std::isinf(config.request_rate)) out += line("Request rate configured (RPS):", config.request_rate);
  out += line("Benchmark duration (s):", duration);
  out += line("Total input tokens:", report.input_tokens);
  out += line("Total generated tokens:", report.output_tokens);
  out += line("Request throughput (req/s):", report.request_throughput);
  if (!config.goodput.empty()) out += line("Request goodput (req/s):", report.request_goodput);
  out += line("Output token throughput (tok/s):", report.output_throughput);
  out += line("Peak output token throughput (tok/s):", report.peak_output_throughput);
  out += line("Peak concurrent requests:", static_cast<double>(report.peak_concurrency));
  out += line("Total token throughput (tok/s):", report.total_throughput);
  for (const Section& section : {Section{"Time to First Token", "TTFT", report.ttft},
                                 Section{"Time per Output Token (excl. 1st token)", "TPOT", report.tpot},
                                 Section{"Inter-token Latency", "ITL", report.itl},
                                 Section{"End-to-end Latency", "E2EL", report.e2el}}) {
    const bool is_wanted = std::ranges::any_of(config.percentile_metrics,
                                               [&](const std::string& name) { return upper(name) == section.name; });
    if (is_wanted) out += print_section(section, config.metric_percentiles);
  }
  return out + std::string(50, '=') + "\n";
}

std::string print_client_cost(const Measurement& measurement, int num_cores) {
  const double share = measurement.client_cpu / std::max(measurement.duration, 1e-9);
  const int usable = std::max(1, std::min(num_cores, measurement.num_client_threads));
  std::string out = fmt::format("The client itself used {:.2f} of {} cores.\n", share, num_cores);
  constexpr double kTooMuch = 0.5;     // of what its threads could use: events then wait for the client
  if (share > kTooMuch * usable) {
    out += "WARNING: the client is the bottleneck; these figures say more about it than about the server.\n";
  }
  return out;
}

Json result_json(const BenchConfig& config, const LoadTestResult& result, const Report& report,
                 const std::string& date) {
  Json out{{"date", date},
           {"endpoint_type", config.backend},
           {"backend", config.backend},
           {"label", config.label},
           {"model_id", result.model},
           {"tokenizer_id", result.model},
           {"num_prompts", config.num_prompts},
           {"request_rate", rate_json(config.request_rate)},
           {"burstiness", config.burstiness},
           {"max_concurrency", config.max_concurrency > 0 ? Json(config.max_concurrency) : Json()},
           {"duration", result.measurement.duration},
           {"completed", report.completed},
           {"failed", report.failed},
           {"total_input_tokens", report.input_tokens},
           {"total_output_tokens", report.output_tokens},
           {"num_chunks", report.num_chunks},
           {"request_throughput", report.request_throughput},
           {"output_throughput", report.output_throughput},
           {"total_token_throughput", report.total_throughput},
           {"max_output_tokens_per_s", report.peak_output_throughput},
           {"max_concurrent_requests", report.peak_concurrency},
           {"client_cpu_seconds", result.measurement.client_cpu}};
  if (!config.goodput.empty()) out["request_goodput"] = report.request_goodput;
  for (const std::string& pair : config.metadata)
    out[pair.substr(0, pair.find('='))] = pair.substr(std::min(pair.find('=') + 1, pair.size()));
  add_summary(out, "ttft", report.ttft, config.metric_percentiles);
  add_summary(out, "tpot", report.tpot, config.metric_percentiles);
  add_summary(out, "itl", report.itl, config.metric_percentiles);
  add_summary(out, "e2el", report.e2el, config.metric_percentiles);
  if (config.save_detailed) add_details(out, result.measurement.requests);
  return out;
}

std::string result_file_name(const BenchConfig& config, const std::string& model, const std::string& date) {
  if (!config.result_filename.empty()) return config.result_filename;
  std::string short_name = model.substr(model.rfind('/') + 1);
  const std::string concurrency =
      config.max_concurrency > 0 ? fmt::format("-concurrency{}", config.max_concurrency) : "";
  return fmt::format("{}-{}qps{}-{}-{}.json", config.label, config.request_rate, concurrency, short_name, date);
}

}  // namespace gale
