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
  void ready() { say("READY=1"); }
  // At most once a second. Not calling it is how a hang is told.
  void alive(TimePoint now);
  void stopping() { say("STOPPING=1"); }
  // Another process is the service from now on. Only the main process is listened to: say it before that one speaks.
  void succeeded_by(pid_t pid) { say(fmt::format("MAINPID={}", pid)); }

 private:
  void say(const std::string& line) const;

  const std::string path_;             // "@name": in the abstract namespace
  TimePoint last_{};
};

}  // namespace gale
