#pragma once

#include "base/result.h"

namespace gale {

// What a client is told whose request there is no memory for; others go on.
[[nodiscard]] inline Error no_memory() {
  return {ErrorCode::kUnavailable, "there is no memory for this request now", {}};
}

}  // namespace gale
