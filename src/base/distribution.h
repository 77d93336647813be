#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace gale {

// How many values fell up to which bound, as Prometheus counts: plain data that one side fills and another shows.
// `kBounds`: an array, rising; what is above the last one is counted, too.
template <const auto& kBounds>
struct Distribution {
  std::array<uint64_t, std::size(kBounds) + 1> counts{};   // of each bucket alone
  double sum = 0;

  void add(double value) {
    ++counts[static_cast<size_t>(std::lower_bound(kBounds.begin(), kBounds.end(), value) - kBounds.begin())];
    sum += value;
  }
  bool operator==(const Distribution&) const = default;
};

}  // namespace gale
