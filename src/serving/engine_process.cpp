#include "serving/engine_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/log.h"
#include "channel/socket_channel.h"

namespace gale {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGrace{2000};          // to leave after the channel closed
constexpr milliseconds kReapInterval{5};
constexpr int kExecFailed = 127;

std::string describe_ending(int status) {
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("exited with code {}", WEXITSTATUS(status));
}

class ForkedEngine final : public EngineProcess {
 public:
  ForkedEngine(pid_t pid, std::unique_ptr<FrontChannel> channel) : pid_(pid), channel_(std::move(channel)) {}

  ~ForkedEngine() override {
    channel_.reset();
    const auto give_up = std::chrono::steady_clock::now() + kGrace;
    while (!ending() && std::chrono::steady_clock::now() < give_up) std::this_thread::sleep_for(kReapInterval);
    if (ending()) return;
    log_warning("engine {} did not leave within {} ms and is killed", pid_, kGrace.count());
    kill();
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
  }

  FrontChannel& channel() override { return *channel_; }

  std::optional<std::string> ending() override {
    int status = 0;
    if (!ending_ && ::waitpid(pid_, &status, WNOHANG) == pid_) ending_ = describe_ending(status);
    return ending_;
  }

  void kill() override {
    if (!ending()) ::kill(pid_, SIGKILL);   // not reaped yet, so the id is still this engine's
  }

 private:
  const pid_t pid_;
  std::unique_ptr<FrontChannel> channel_;
  std::optional<std::string> ending_;
};

// In the child, between fork and exec: only what is safe after a fork of a process with threads.
[[noreturn]] void become_engine(int channel_fd, char* const* arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  // A descriptor that already has the right number would keep its close-on-exec flag through dup2.
  const int elsewhere = channel_fd == kEngineChannelFd ? ::dup(channel_fd) : channel_fd;
  if (::dup2(elsewhere, kEngineChannelFd) == kEngineChannelFd) {
    ::close_range(kEngineChannelFd + 1, ~0U, 0);   // clients' connections must not live as long as the engine
    ::execv(arguments[0], arguments);
  }
  ::_exit(kExecFailed);
}

}  // namespace

EngineLauncher make_process_launcher(std::vector<std::string> command, std::string build_id) {
  return [command = std::move(command), build_id = std::move(build_id)]() -> Result<std::unique_ptr<EngineProcess>> {
    GALE_ASSIGN(SocketPair sockets, make_socket_pair());
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) return fail(ErrorCode::kInternal, "cannot start the engine: {}", std::strerror(errno));
    if (pid == 0) become_engine(sockets.engine.get(), arguments.data());
    sockets.engine.reset();
    auto channel = make_front_socket_channel(std::move(sockets.front), {.build_id = build_id});
    return std::make_unique<ForkedEngine>(pid, std::move(channel));
  };
}

}  // namespace gale
