#include "server/metrics.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace gale {
namespace {

std::string number_text(double value) {
  const bool is_whole = std::abs(value) < 1e15 && std::floor(value) == value;
  return is_whole ? fmt::format("{:.0f}", value) : fmt::format("{}", value);
}

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '\n') out += "\\n";
    else if (c == '"' || c == '\\') (out += '\\') += c;
    else out += c;
  }
}

void append_sample(std::string& out, std::string_view name, std::string_view labels, double value) {
  out += name;
  if (!labels.empty()) fmt::format_to(std::back_inserter(out), "{{{}}}", labels);
  fmt::format_to(std::back_inserter(out), " {}\n", number_text(value));
}

}  // namespace

void Histogram::observe(double value, uint64_t times) {
  const size_t bucket = static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
  counts_[bucket].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
}

void Histogram::add_grown(std::span<const uint64_t> counts, std::span<const uint64_t> before, double grown_sum) {
  CHECK(counts.size() == counts_.size() && before.size() == counts_.size(), "{} and {} buckets for {}", counts.size(),
        before.size(), counts_.size());
  for (size_t i = 0; i < counts.size(); ++i) counts_[i].fetch_add(counts[i] - before[i], std::memory_order_relaxed);
  sum_.fetch_add(grown_sum, std::memory_order_relaxed);
}

MetricRegistry::Family& MetricRegistry::family(std::string_view name, std::string_view help, Kind kind) {
  const auto [entry, is_new] = families_.try_emplace(std::string(name));
  Family& found = entry->second;
  if (is_new) {
    found.kind = kind;
    found.help = help;
  }
  CHECK(found.kind == kind, "metric {} has two kinds", name);
  return found;
}

Counter& MetricRegistry::counter(std::string_view name, std::string_view help, const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  return family(name, help, Kind::kCounter).counters[labels_text(name, labels)];
}

Gauge& MetricRegistry::gauge(std::string_view name, std::string_view help, const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  return family(name, help, Kind::kGauge).gauges[labels_text(name, labels)];
}

Histogram& MetricRegistry::histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                                     const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  auto& histograms = family(name, help, Kind::kHistogram).histograms;
  return histograms.try_emplace(labels_text(name, labels), bounds).first->second;
}

std::string MetricRegistry::labels_text(std::string_view name, const MetricLabels& labels) const {
  std::string out;
  const auto append = [&out](const std::string& key, const std::string& value) {
    if (!out.empty()) out += ',';
    out += key;
    out += "=\"";
    append_escaped(out, value);
    out += '"';
  };
  if (name.starts_with("vllm:")) {
    for (const auto& [key, value] : common_) append(key, value);
  }
  for (const auto& [key, value] : labels) append(key, value);
  return out;
}

void MetricRegistry::append_histogram(std::string& out, const std::string& name, const std::string& labels,
                                      const Histogram& histogram) {
  const std::string comma = labels.empty() ? "" : ",";
  uint64_t total = 0;
  for (size_t i = 0; i < histogram.counts_.size(); ++i) {
    total += histogram.counts_[i].load(std::memory_order_relaxed);
    const std::string bound = i < histogram.bounds_.size() ? fmt::format("{}", histogram.bounds_[i]) : "+Inf";
    append_sample(out, name + "_bucket", fmt::format("{}{}le=\"{}\"", labels, comma, bound),
                  static_cast<double>(total));
  }
  append_sample(out, name + "_sum", labels, histogram.sum_.load(std::memory_order_relaxed));
  append_sample(out, name + "_count", labels, static_cast<double>(total));
}

std::string MetricRegistry::text() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    const bool is_counter = family.kind == Kind::kCounter;
    const std::string shown = is_counter ? name + "_total" : name;
    const std::string_view kind = is_counter ? "counter" : family.kind == Kind::kGauge ? "gauge" : "histogram";
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", shown, family.help, shown, kind);
    for (const auto& [labels, counter] : family.counters) append_sample(out, shown, labels, counter.value());
    for (const auto& [labels, gauge] : family.gauges) append_sample(out, shown, labels, gauge.value());
    for (const auto& [labels, histogram] : family.histograms) append_histogram(out, name, labels, histogram);
  }
  return out;
}

}  // namespace gale
