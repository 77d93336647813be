#pragma once

#include <array>

#include "ops/op.h"

namespace gale {

enum class RopePairing : uint8_t { kInterleaved, kHalfSplit };   // pairs (2j, 2j+1) or (j, j + R/2)

// Rotary embedding of the first `rotary_dim` elements of a head; angle_j(p) = p * theta^(-2j / rotary_dim), fp32.
// Frequency j takes its position from axis 0 (T) if j < sections[0], 1 (H) if j < sections[0] + sections[1], else 2
// (W); sections {rotary_dim / 2, 0, 0} is plain rope.
struct RopeParams {
  RopePairing pairing = RopePairing::kInterleaved;
  int rotary_dim = 0;
  double theta = 0;
  std::array<int, 3> sections{};
};

}  // namespace gale
