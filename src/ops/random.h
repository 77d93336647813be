#pragma once

#include <cstdint>

#include "ops/philox.h"

namespace gale {

// A number in [-sqrt(3), sqrt(3)) for every (seed, index), the same on every backend: the finaliser of SplitMix64 over
// their mix (Steele, Lea, Flood 2014), of which the upper 24 bits count.
GALE_HOST_DEVICE inline float uniform_of(uint64_t seed, uint64_t index) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ULL + index * 0xd1b54a32d192ed03ULL + 0x632be59bd9b4e019ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return (static_cast<float>(x >> 40) * 0x1p-24f - 0.5f) * 3.46410162f;
}

}  // namespace gale
