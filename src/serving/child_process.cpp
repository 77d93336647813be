#include "serving/child_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault_point.h"

namespace gale {
namespace {

constexpr int kExecFailed = 127;

// In the child, between fork and exec: only what is safe after a fork of a process with threads.
[[noreturn]] void become_child(int socket, char* const* arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  // A descriptor that already has the right number would keep its close-on-exec flag through dup2.
  const int elsewhere = socket == kChildSocketFd ? ::dup(socket) : socket;
  if (::dup2(elsewhere, kChildSocketFd) == kChildSocketFd) {
    ::close_range(kChildSocketFd + 1, ~0U, 0);   // clients' connections must not live as long as the child
    ::execv(arguments[0], arguments);
  }
  ::_exit(kExecFailed);
}

}  // namespace

Result<pid_t> start_child(const std::vector<std::string>& command, int socket) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = fault_happens("child.fork") ? (errno = EAGAIN, -1) : ::fork();
  if (pid < 0) return fail(ErrorCode::kInternal, "cannot start {}: {}", command.front(), std::strerror(errno));
  if (pid == 0) become_child(socket, arguments.data());
  return pid;
}

int kill_child(pid_t pid) {
  int status = 0;
  ::kill(pid, SIGKILL);                // not reaped yet, so the id is still this child's
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return status;
}

std::string describe_ending(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("exited with code {}", WEXITSTATUS(status));
}

}  // namespace gale
