#pragma once

#include <chrono>
#include <new>
#include <thread>

#include "base/result.h"

namespace gale {

// What a client is told whose request there is no memory for; others go on.
[[nodiscard]] inline Error no_memory() {
  return {ErrorCode::kUnavailable, "there is no memory for this request now", {}};
}

// For what has to happen, sooner or later: a step that may be tried again after it ran out of memory.
template <class Step>
void when_there_is_memory(Step step) {
  constexpr std::chrono::milliseconds kPause{10};
  while (true) {
    try {
      return step();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(kPause);
    }
  }
}

}  // namespace gale
