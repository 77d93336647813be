#pragma once

#include <algorithm>

#include "base/clock.h"

namespace gale {

// So many of something a minute on average, and as many of them at once.
struct Allowance {
  double left = 0;                     // that may come at counted_at
  TimePoint counted_at{};

  void refill(int a_minute, TimePoint now) {
    const double minutes = seconds(now - counted_at) / 60;
    left = std::min<double>(a_minute, left + minutes * a_minute);
    counted_at = now;
  }
};

}  // namespace gale
