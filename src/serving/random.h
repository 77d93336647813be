#pragma once

#include <cstdint>
#include <random>

namespace gale {

// 64 unpredictable bits from the operating system.
[[nodiscard]] inline uint64_t random_bits() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace gale
