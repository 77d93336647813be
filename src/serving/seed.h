#pragma once

#include <cstdint>

namespace gale {

// Steele, Lea and Flood's SplitMix64 finaliser: a bijection whose output bits depend on all input bits.
[[nodiscard]] constexpr uint64_t mix_bits(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// The seed of choice i of n: choice 0 has the request's own, so that n = 1 and the first of many are the same text;
// choice i has mix_bits(seed ^ mix_bits(i)). Part of what "the same seed gives the same answers" means: never change
// it.
[[nodiscard]] constexpr uint64_t choice_seed(uint64_t seed, int choice) {
  return choice == 0 ? seed : mix_bits(seed ^ mix_bits(static_cast<uint64_t>(choice)));
}

}  // namespace gale
