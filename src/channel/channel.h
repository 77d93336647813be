#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "request/messages.h"

namespace gale {

// The front-engine protocol. Either end may vanish at any byte; whoever stays gets kUnavailable and drops his end.
// Both ends are thread-safe for one sender and one receiver thread each.

// The engine's end.
class EngineChannel {
 public:
  virtual ~EngineChannel() = default;
  // Everything that has arrived; waits up to `timeout` if nothing has. kUnavailable once the front is gone.
  [[nodiscard]] virtual Result<std::vector<ToEngine>> receive(std::chrono::milliseconds timeout) = 0;
  [[nodiscard]] virtual Status send(const ToFront& message) = 0;
};

// The front's end.
class FrontChannel {
 public:
  virtual ~FrontChannel() = default;
  [[nodiscard]] virtual Result<std::vector<ToFront>> receive(std::chrono::milliseconds timeout) = 0;
  // Never blocks for long: a peer that does not read for 5 s counts as gone.
  [[nodiscard]] virtual Status send(const ToEngine& message) = 0;
};

// Two connected ends inside one process, for tests and offline use.
struct InProcessChannel {
  std::unique_ptr<FrontChannel> front;
  std::unique_ptr<EngineChannel> engine;
};
[[nodiscard]] InProcessChannel make_in_process_channel();

}  // namespace gale
