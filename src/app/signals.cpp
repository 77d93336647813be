#include "app/signals.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

namespace gale {
namespace {

sigset_t stop_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

sigset_t reload_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = stop_set();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const sigset_t reload = reload_set();
  pthread_sigmask(SIG_BLOCK, &reload, nullptr);
  signal(SIGHUP, SIG_DFL);
  // A shell starts background jobs with SIGINT ignored, and what is ignored never becomes pending.
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

bool StopSignals::wait(std::chrono::milliseconds timeout) const {
  const sigset_t set = stop_set();
  constexpr long kNsPerMs = 1'000'000;
  const timespec limit{.tv_sec = timeout.count() / 1000, .tv_nsec = timeout.count() % 1000 * kNsPerMs};
  return sigtimedwait(&set, nullptr, &limit) > 0;
}

bool StopSignals::wants_reload() const {
  const sigset_t set = reload_set();
  const timespec now{};
  return sigtimedwait(&set, nullptr, &now) > 0;
}

}  // namespace gale
