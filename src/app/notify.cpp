#include "app/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/log.h"

namespace gale {

void ServiceNotifier::alive(TimePoint now) {
  if (now - last_ < std::chrono::seconds(1)) return;
  last_ = now;
  say("WATCHDOG=1", MSG_DONTWAIT);
}

void ServiceNotifier::say(const std::string& line, int send_flags) const {
  sockaddr_un address{};
  if (path_.empty() || path_.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (path_[0] == '@') address.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
  const bool is_sent = fd >= 0 && ::sendto(fd, line.data(), line.size(), MSG_NOSIGNAL | send_flags,
                                           reinterpret_cast<const sockaddr*>(&address), length) >= 0;
  if (!is_sent) log_warning("the service manager did not hear {}: {}", line, std::strerror(errno));
  if (fd >= 0) ::close(fd);
}

}  // namespace gale
