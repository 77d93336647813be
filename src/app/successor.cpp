#include "app/successor.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "app/machine_facts.h"
#include "base/log.h"
#include "config/command_line.h"
#include "serving/child_process.h"

namespace gale {
namespace {

// With no signal held back and none ignored: what this process set for itself is not its successor's.
Result<pid_t> spawn(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t set;
  ::sigemptyset(&set);
  ::posix_spawnattr_setsigmask(&attributes, &set);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int trouble = ::posix_spawnp(&pid, arguments[0], nullptr, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (trouble != 0) return fail(ErrorCode::kNotFound, "cannot start {}: {}", command[0], std::strerror(trouble));
  return pid;
}

}  // namespace

void Successor::start() {
  const std::vector<std::string> arguments = arguments_of(::getpid());
  if (arguments.size() < 2) return log_error("SIGUSR2: /proc does not tell how this program was started");
  if (pid_) return log_warning("SIGUSR2: process {} is on its way already", *pid_);
  Config only;
  only.serve.takes_over = true;
  std::vector<std::string> command = arguments;
  // In front of what may follow a "--"; said twice it means the same.
  for (const std::string& flag : arguments_for(Command::kServe, only)) {
    const bool is_there = std::ranges::find(command, flag) != command.end();
    if (!is_there) command.insert(command.begin() + 2, flag);
  }
  const Result<pid_t> pid = spawn(command);
  if (!pid) return log_error("SIGUSR2: {}; this server goes on", pid.error().message);
  pid_ = *pid;
  log_info("SIGUSR2: process {} is started to take over", *pid_);
}

void Successor::look() {
  int status = 0;
  if (!pid_ || ::waitpid(*pid_, &status, WNOHANG) != *pid_) return;
  log_error("process {}, which was to take over, {}: this server goes on", *pid_, describe_ending(status));
  pid_.reset();
}

}  // namespace gale
