#include "bench/measurement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace gale {
namespace {

constexpr double kMsPerSecond = 1000;

// Linear interpolation between the neighbours, as numpy's default. Precondition: sorted, not empty.
double percentile(const std::vector<double>& sorted, double percent) {
  const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

// How often each second of the run was hit; `amount` is added over [from, to].
class Seconds {
 public:
  void add_at(double time, double amount) { at(time) += amount; }
  void add_over(double from, double to) {
    for (auto second = static_cast<size_t>(from); second <= static_cast<size_t>(to); ++second)
      at(static_cast<double>(second)) += 1;
  }
  [[nodiscard]] double highest() const { return counts_.empty() ? 0 : *std::ranges::max_element(counts_); }

 private:
  double& at(double time) {
    const auto second = static_cast<size_t>(std::max(time, 0.0));
    if (second >= counts_.size()) counts_.resize(second + 1);
    return counts_[second];
  }
  std::vector<double> counts_;
};

}  // namespace

Summary summarize(std::vector<double> values_ms, const std::vector<int>& percentiles) {
  Summary out;
  out.percentiles.assign(percentiles.size(), 0);
  if (values_ms.empty()) return out;
  std::ranges::sort(values_ms);
  const auto count = static_cast<double>(values_ms.size());
  out.mean = std::accumulate(values_ms.begin(), values_ms.end(), 0.0) / count;
  out.median = percentile(values_ms, 50);
  double squares = 0;
  for (const double value : values_ms) squares += (value - out.mean) * (value - out.mean);
  out.std = std::sqrt(squares / count);
  for (size_t i = 0; i < percentiles.size(); ++i) out.percentiles[i] = percentile(values_ms, percentiles[i]);
  return out;
}

double goodput_of(const Measurement& measurement, const GoodputLimits& limits) {
  const auto is_good = [&limits](const RequestRecord& request) {
    const double tpot =
        request.output_tokens > 1 ? (request.last_token - request.first_token) / (request.output_tokens - 1) : 0;
    return request.succeeded && request.ttft() * kMsPerSecond <= limits.ttft_ms &&
           tpot * kMsPerSecond <= limits.tpot_ms && request.latency() * kMsPerSecond <= limits.e2el_ms;
  };
  return static_cast<double>(std::ranges::count_if(measurement.requests, is_good)) /
         std::max(measurement.duration, 1e-9);
}

Report make_report(const Measurement& measurement, const std::vector<int>& percentiles) {
  Report report;
  std::vector<double> ttft, tpot, itl, e2el;
  Seconds tokens, live;
  for (const RequestRecord& request : measurement.requests) {
    if (!request.succeeded) {
      ++report.failed;
      continue;
    }
    ++report.completed;
    report.input_tokens += request.input_tokens;
    report.output_tokens += request.output_tokens;
    report.num_chunks += static_cast<int64_t>(request.gaps.size()) + 1;
    ttft.push_back(request.ttft() * kMsPerSecond);
    e2el.push_back(request.latency() * kMsPerSecond);
    if (request.output_tokens > 1) {
      tpot.push_back((request.last_token - request.first_token) / (request.output_tokens - 1) * kMsPerSecond);
    }
    // An event may carry several tokens: they are spread evenly over the events.
    const double tokens_an_event = request.output_tokens / static_cast<double>(request.gaps.size() + 1);
    double time = request.first_token;
    tokens.add_at(time, tokens_an_event);
    for (const double gap : request.gaps) {
      itl.push_back(gap * kMsPerSecond);
      time += gap;
      tokens.add_at(time, tokens_an_event);
    }
    live.add_over(request.start, request.last_token);
  }
  const double duration = std::max(measurement.duration, 1e-9);
  report.request_throughput = report.completed / duration;
  report.output_throughput = static_cast<double>(report.output_tokens) / duration;
  report.total_throughput = static_cast<double>(report.input_tokens + report.output_tokens) / duration;
  report.peak_output_throughput = tokens.highest();
  report.peak_concurrency = static_cast<int>(live.highest());
  report.ttft = summarize(std::move(ttft), percentiles);
  report.tpot = summarize(std::move(tpot), percentiles);
  report.itl = summarize(std::move(itl), percentiles);
  report.e2el = summarize(std::move(e2el), percentiles);
  return report;
}

}  // namespace gale
