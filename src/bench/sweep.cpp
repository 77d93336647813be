#include "bench/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace gale {
namespace {

constexpr double kWidth = 460, kHeight = 300, kLeft = 70, kTop = 50, kGap = 110;

struct Line {
  std::string_view name;
  std::string_view colour;
  std::vector<double> values;
};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') out += "&lt;";
    else if (c == '&') out += "&amp;";
    else out += c;
  }
  return out;
}

// The next 1, 2 or 5 times a power of ten.
double round_up(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power) return step * power;
  }
  return 10 * power;
}

std::string axes(double left, std::string_view title, std::span<const SweepPoint> points, double top_value) {
  std::string out = fmt::format(R"(<text x="{}" y="{}" font-weight="bold">{}</text>)", left, kTop - 16, title);
  constexpr int kTicks = 5;
  for (int i = 0; i <= kTicks; ++i) {
    const double y = kTop + kHeight - kHeight * i / kTicks;
    out += fmt::format(
        R"(<line x1="{0}" y1="{2}" x2="{1}" y2="{2}" stroke="#ddd"/>)"
        R"(<text x="{3}" y="{4}" text-anchor="end">{5:.4g}</text>)",
        left, left + kWidth, y, left - 6, y + 4, top_value * i / kTicks);
  }
  for (size_t i = 0; i < points.size(); ++i) {
    const double x = left + kWidth * (static_cast<double>(i) + 0.5) / static_cast<double>(points.size());
    out += fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">{}</text>)", x, kTop + kHeight + 18,
                       points[i].concurrency);
  }
  return out + fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">requests at once</text>)", left + kWidth / 2,
                           kTop + kHeight + 38);
}

std::string plot(double left, std::string_view title, std::span<const SweepPoint> points,
                 const std::vector<Line>& lines) {
  double highest = 0;
  for (const Line& line : lines) highest = std::max(highest, *std::ranges::max_element(line.values));
  const double top_value = round_up(highest);
  std::string out = axes(left, title, points, top_value);
  for (size_t n = 0; n < lines.size(); ++n) {
    const Line& line = lines[n];
    std::string path;
    std::string dots;
    for (size_t i = 0; i < line.values.size(); ++i) {
      const double x = left + kWidth * (static_cast<double>(i) + 0.5) / static_cast<double>(points.size());
      const double y = kTop + kHeight - kHeight * line.values[i] / top_value;
      path += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "" : " ", x, y);
      dots += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"><title>{:.2f}</title></circle>)", x, y,
                          line.colour, line.values[i]);
    }
    out += fmt::format(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>)", path, line.colour) + dots;
    out += fmt::format(R"(<text x="{}" y="{}" fill="{}">{}</text>)", left + 10, kTop + 16 + 16 * static_cast<double>(n),
                       line.colour, line.name);
  }
  return out;
}

double last_percentile(const Summary& summary) {
  return summary.percentiles.empty() ? summary.mean : summary.percentiles.back();
}

}  // namespace

std::string sweep_table(std::span<const SweepPoint> points, int percentile) {
  std::string out = fmt::format("{:>11} {:>10} {:>8} {:>10} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "concurrency",
                                "completed", "failed", "req/s", "output tok/s", "TTFT ms",
                                fmt::format("P{} TTFT", percentile), "TPOT ms", fmt::format("P{} ITL", percentile));
  for (const SweepPoint& point : points) {
    const Report& report = point.report;
    out += fmt::format("{:>11} {:>10} {:>8} {:>10.2f} {:>12.2f} {:>12.2f} {:>12.2f} {:>12.2f} {:>12.2f}\n",
                       point.concurrency, report.completed, report.failed, report.request_throughput,
                       report.output_throughput, report.ttft.mean, last_percentile(report.ttft), report.tpot.mean,
                       last_percentile(report.itl));
  }
  return out;
}

std::string sweep_svg(std::span<const SweepPoint> points, const std::string& title) {
  Line throughput{"output tokens a second", "#1f77b4", {}};
  Line ttft{"mean time to first token (ms)", "#d62728", {}};
  Line tpot{"mean time per output token (ms)", "#2ca02c", {}};
  Line itl{"tail of inter-token latency (ms)", "#9467bd", {}};
  for (const SweepPoint& point : points) {
    throughput.values.push_back(point.report.output_throughput);
    ttft.values.push_back(point.report.ttft.mean);
    tpot.values.push_back(point.report.tpot.mean);
    itl.values.push_back(last_percentile(point.report.itl));
  }
  const double second = kLeft + kWidth + kGap;
  return fmt::format(
             R"(<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}" )"
             R"(font-family="sans-serif" font-size="12">)",
             second + kWidth + 20, kTop + kHeight + 50) +
         fmt::format(R"(<rect width="100%" height="100%" fill="white"/><text x="{}" y="18" font-size="14">{}</text>)",
                     kLeft, escaped(title)) +
         plot(kLeft, "Throughput", points, {throughput}) + plot(second, "Latency", points, {ttft, tpot, itl}) +
         "</svg>\n";
}

}  // namespace gale
