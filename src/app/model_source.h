#pragma once

#include <functional>

#include "config/config.h"

namespace gale {

// Where MODEL is no folder but a name on the Hub: the folder of it in the cache takes its place, and the name stays
// what clients call it. `is_cancelled` may be asked by several threads.
[[nodiscard]] Status find_model(Config& config, const std::function<bool()>& is_cancelled);
// The same without the Hub: looking at a model downloads nothing.
[[nodiscard]] Status find_cached_model(Config& config);

}   // namespace gale
