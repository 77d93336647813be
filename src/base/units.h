#pragma once

#include <cstdint>

namespace gale {

// Bytes as GiB (2^30 bytes), the unit of what people read about memory.
[[nodiscard]] constexpr double gib(int64_t bytes) { return static_cast<double>(bytes) / (int64_t{1} << 30); }

}  // namespace gale
