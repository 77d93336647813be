#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/takeover_messages.h"
#include "base/clock.h"
#include "serving/engine_pipeline.h"

namespace gale {

// The running server whose place this process wants. It serves on until serving() was called, and if this process ends
// before that.
class Predecessor {
 public:
  // None: nobody serves that port with a door, or nobody any more. kForbidden: another user does. kDeadline: it does
  // not answer. kUnavailable: it hands over by other rules, or to somebody else already.
  [[nodiscard]] static Result<std::unique_ptr<Predecessor>> find(const std::string& dir, int port);
  Predecessor(const Predecessor&) = delete;
  Predecessor& operator=(const Predecessor&) = delete;

  [[nodiscard]] pid_t pid() const { return peer_.pid; }
  [[nodiscard]] const std::string& host() const { return host_; }      // as its --host
  [[nodiscard]] const std::optional<ExpectedEngine>& engine() const { return engine_; }   // none: it has none itself
  // Of the device's memory, that its engine gives back when it leaves; 0: it does not say.
  [[nodiscard]] int64_t memory_bytes() const { return memory_bytes_; }

  [[nodiscard]] Result<std::vector<int>> take_listeners();   // the caller's to close
  // From here on it accepts nobody; it ends when all have been answered.
  [[nodiscard]] Status serving();

  // Waits until its process, and with it its engine, has ended; one that takes longer than it said hangs and is killed.
  // False: leave() came first.
  [[nodiscard]] bool wait_for_end();
  void stop_waiting() { is_awaited_ = false; }               // from any thread

 private:
  Predecessor(UniqueFd socket, Peer peer);
  [[nodiscard]] Status greet();
  [[nodiscard]] Result<TakeoverMessage> ask(const Json& body);
  [[nodiscard]] bool has_ended() const;

  const UniqueFd socket_;
  const Peer peer_;
  const UniqueFd process_;              // so that an id that was given anew is never meant
  std::string host_;
  std::optional<ExpectedEngine> engine_;
  int64_t memory_bytes_ = 0;
  std::chrono::milliseconds patience_{0};
  std::atomic<bool> is_awaited_{true};
};

}  // namespace gale
