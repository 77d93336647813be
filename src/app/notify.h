#pragma once

#include <string>

#include "base/clock.h"

namespace gale {

// Tells systemd how a Type=notify service is (sd_notify's protocol, of which two lines are used). Without a socket it
// does nothing.
class ServiceNotifier {
 public:
  explicit ServiceNotifier(std::string socket_path) : path_(std::move(socket_path)) {}
  void ready() { say("READY=1"); }
  // At most once a second. Not calling it is how a hang is told.
  void alive(TimePoint now);
  void stopping() { say("STOPPING=1"); }

 private:
  void say(const std::string& line) const;

  const std::string path_;             // "@name": in the abstract namespace
  TimePoint last_{};
};

}  // namespace gale
