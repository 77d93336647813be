#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gale {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  // Upper bounds, rising; the one of +Inf is added.
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}
  void observe(double value, uint64_t times = 1);
  // Adds what others counted, by bucket as here, since they had counted `before`.
  void add_grown(std::span<const uint64_t> counts, std::span<const uint64_t> before, double grown_sum);
  [[nodiscard]] size_t num_buckets() const { return counts_.size(); }

 private:
  friend class MetricRegistry;
  const std::vector<double> bounds_;
  std::deque<std::atomic<uint64_t>> counts_;   // of each bucket alone
  std::atomic<double> sum_{0};
};

// A server's metrics, written in the text format of Prometheus. Thread-safe; references it gives stay valid. Asking
// again for a name with the same labels gives the same metric.
class MetricRegistry {
 public:
  // `common`: labels of every metric whose name starts with "vllm:".
  explicit MetricRegistry(MetricLabels common) : common_(std::move(common)) {}
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // Counters are named without "_total"; it is added in the text.
  Counter& counter(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                       const MetricLabels& labels = {});

  [[nodiscard]] std::string text() const;

 private:
  enum class Kind { kCounter, kGauge, kHistogram };
  struct Family {
    Kind kind;
    std::string help;
    std::map<std::string, Counter> counters;      // by the labels' text
    std::map<std::string, Gauge> gauges;
    std::map<std::string, Histogram> histograms;
  };
  Family& family(std::string_view name, std::string_view help, Kind kind);
  [[nodiscard]] std::string labels_text(std::string_view name, const MetricLabels& labels) const;
  static void append_histogram(std::string& out, const std::string& name, const std::string& labels,
                               const Histogram& histogram);

  const MetricLabels common_;
  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace gale
