#pragma once

#include <chrono>
#include <cstddef>

namespace gale {

struct StreamArchiveConfig {
  std::chrono::seconds window{60};                  // a stream whose client is gone is kept (and computed) for so long
  size_t max_stream_bytes = size_t{4} << 20;        // of one stream; older events go first
  size_t max_bytes = size_t{256} << 20;             // of all; more streams than that are refused
};

}  // namespace gale
