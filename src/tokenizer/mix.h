#pragma once

#include <cstdint>

namespace gale {

// Spreads every bit of the input over all bits of the output; a bijection (the finaliser of SplitMix64).
[[nodiscard]] constexpr uint64_t mix_bits(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

}  // namespace gale
