#include "app/signals.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <initializer_list>

namespace gale {
namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

bool has_come(int signal) {
  const sigset_t set = set_of({signal});
  const timespec now{};
  return sigtimedwait(&set, nullptr, &now) > 0;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t all = set_of({SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2});
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  // A shell starts background jobs with SIGINT ignored, and what is ignored never becomes pending.
  for (const int one : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) signal(one, SIG_DFL);
}

bool StopSignals::wait(std::chrono::milliseconds timeout) const {
  const sigset_t set = set_of({SIGTERM, SIGINT});
  constexpr long kNsPerMs = 1'000'000;
  const timespec limit{.tv_sec = timeout.count() / 1000, .tv_nsec = timeout.count() % 1000 * kNsPerMs};
  return sigtimedwait(&set, nullptr, &limit) > 0;
}

bool StopSignals::wants_reload() const { return has_come(SIGHUP); }

bool StopSignals::wants_other_log_level() const { return has_come(SIGUSR1); }

bool StopSignals::wants_successor() const { return has_come(SIGUSR2); }

void switch_log_level(LogLevel usual) {
  if (!is_logged(LogLevel::kDebug)) {
    set_log_level(LogLevel::kDebug);
    return log_info("SIGUSR1: debug lines from here on");
  }
  set_log_level(LogLevel::kInfo);   // in which this line is told, whatever is usual
  log_info("SIGUSR1: no debug lines any more");
  if (usual != LogLevel::kDebug) set_log_level(usual);
}

}  // namespace gale
