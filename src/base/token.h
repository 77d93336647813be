#pragma once

#include <cstdint>

namespace gale {

using TokenId = int32_t;   // an id of the model's vocabulary; never negative in a sequence
inline constexpr TokenId kNoToken = -1;

}  // namespace gale
