#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <string>

#include "base/clock.h"

namespace gale {

// Tells systemd how a Type=notify service is (sd_notify's protocol, of which few lines are used). Without a socket it
// does nothing.
class ServiceNotifier {
 public:
  explicit ServiceNotifier(std::string socket_path) : path_(std::move(socket_path)) {}
  void ready() { say("READY=1", 0); }
  // At most once a second. Not calling it is how a hang is told. A manager that does not listen is not waited for: the
  // next second brings another.
  void alive(TimePoint now);
  void stopping() { say("STOPPING=1", 0); }
  // Another process is the service from now on. Only the main process is listened to: say it before that one speaks.
  void succeeded_by(pid_t pid) { say(fmt::format("MAINPID={}", pid), 0); }

 private:
  void say(const std::string& line, int send_flags) const;

  const std::string path_;             // "@name": in the abstract namespace
  TimePoint last_{};
};

}  // namespace gale
