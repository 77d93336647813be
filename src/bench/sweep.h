#pragma once

#include <span>
#include <string>

#include "bench/measurement.h"

namespace gale {

// One run of a sweep.
struct SweepPoint {
  int concurrency = 0;
  Report report;
};

// A line a run: throughput and latencies.
[[nodiscard]] std::string sweep_table(std::span<const SweepPoint> points, int percentile);

// Two plots over the concurrency, as a standing SVG: output tokens a second, and latencies.
[[nodiscard]] std::string sweep_svg(std::span<const SweepPoint> points, const std::string& title);

}  // namespace gale
