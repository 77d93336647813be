#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "channel/channel.h"
#include "serving/child_process.h"

namespace gale {

// An engine that was started, and the front's end of its channel. Destroying it asks the engine to leave by closing the
// channel, gives it a moment, and kills what is left then: no process stays behind.
class EngineProcess {
 public:
  virtual ~EngineProcess() = default;
  [[nodiscard]] virtual FrontChannel& channel() = 0;
  // How it ended, in words; nothing while it lives. Never blocks. Called by one thread.
  [[nodiscard]] virtual std::optional<std::string> ending() = 0;
  // Ends it at once (SIGKILL): for an engine that hangs. The channel then closes.
  virtual void kill() = 0;
};

// Starts an engine; called again after each death. Not blocked by the engine's loading.
using EngineLauncher = std::function<Result<std::unique_ptr<EngineProcess>>()>;

// Where a forked engine finds its channel.
inline constexpr int kEngineChannelFd = kChildSocketFd;

// Runs `command` (program path, arguments) as an engine process. It inherits standard streams and its end of the
// channel as descriptor kEngineChannelFd, nothing else; it is in a process group of its own (a terminal's interrupt is
// the front's to handle) and is killed if the thread that started it, and so the front, ends.
[[nodiscard]] EngineLauncher make_process_launcher(std::vector<std::string> command, std::string build_id);

}  // namespace gale
