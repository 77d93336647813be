#include "serving/engine_process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

#include "base/log.h"
#include "channel/socket_channel.h"
#include "serving/child_process.h"

namespace gale {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGrace{2000};          // to leave after the channel closed
constexpr milliseconds kReapInterval{5};

class ForkedEngine final : public EngineProcess {
 public:
  ForkedEngine(pid_t pid, std::unique_ptr<FrontChannel> channel) : pid_(pid), channel_(std::move(channel)) {}

  ~ForkedEngine() override {
    channel_.reset();
    const auto give_up = std::chrono::steady_clock::now() + kGrace;
    while (!has_ended() && std::chrono::steady_clock::now() < give_up) std::this_thread::sleep_for(kReapInterval);
    if (has_ended()) return;
    log_warning("engine {} did not leave within {} ms and is killed", pid_, kGrace.count());
    kill_child(pid_);
  }

  FrontChannel& channel() override { return *channel_; }

  std::optional<std::string> ending() override {
    return has_ended() ? std::optional(describe_ending(*status_)) : std::nullopt;
  }

  void kill() override {
    if (!has_ended()) ::kill(pid_, SIGKILL);   // not reaped yet, so the id is still this engine's
  }

 private:
  // Takes no memory: the destructor asks.
  [[nodiscard]] bool has_ended() {
    int status = 0;
    if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
    return status_.has_value();
  }

  const pid_t pid_;
  std::unique_ptr<FrontChannel> channel_;
  std::optional<int> status_;
};

}  // namespace

EngineLauncher make_process_launcher(std::vector<std::string> command, std::string build_id) {
  return [command = std::move(command), build_id = std::move(build_id)]() -> Result<std::unique_ptr<EngineProcess>> {
    GALE_ASSIGN(SocketPair sockets, make_socket_pair());
    auto channel = make_front_socket_channel(std::move(sockets.front), {.build_id = build_id});
    GALE_ASSIGN(const pid_t pid, start_child(command, sockets.engine.get()));
    try {
      return std::make_unique<ForkedEngine>(pid, std::move(channel));
    } catch (const std::bad_alloc&) {   // nobody else would know of it
      kill_child(pid);
      throw;
    }
  };
}

}  // namespace gale
