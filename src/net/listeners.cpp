#include "net/listeners.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace gale {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  [[nodiscard]] int port() const {
    if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
    return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  }
  void set_port(int port) {
    const auto value = htons(static_cast<uint16_t>(port));
    if (storage.ss_family == AF_INET) reinterpret_cast<sockaddr_in&>(storage).sin_port = value;
    else reinterpret_cast<sockaddr_in6&>(storage).sin6_port = value;
  }
};

// Descriptors that are closed unless they are handed on.
class Sockets {
 public:
  Sockets() = default;
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  ~Sockets() {
    for (const auto& group : listeners.groups) {
      for (const int fd : group) ::close(fd);
    }
  }
  Listeners take() { return std::exchange(listeners, {}); }
  Listeners listeners;
};

void set_option(int fd, int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof value); }

Result<std::vector<Address>> resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int rc = ::getaddrinfo(host.c_str(), "0", &hints, &found);
  if (rc != 0) {
    return fail_param(ErrorCode::kInvalidArgument, "host", "--host {}: {}", host, ::gai_strerror(rc));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  std::vector<Address> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    Address address;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
    addresses.push_back(address);
  }
  return addresses;
}

Error listen_error(int cause, const std::string& host, int port) {
  const std::string where = host.empty() ? "all interfaces" : host;
  if (cause == EADDRINUSE) {
    return {ErrorCode::kBusy,
            fmt::format("port {} is in use on {}: stop the program that listens there or choose another --port", port,
                        where),
            "port"};
  }
  if (cause == EACCES)
    return {ErrorCode::kForbidden, fmt::format("port {} needs privileges: choose one above 1023", port), "port"};
  return {ErrorCode::kInvalidArgument,
          fmt::format("cannot listen on {} port {}: {}", where, port, std::strerror(cause)), "host"};
}

// Bound, not yet listening; -1 with errno set. The first socket of an address is bound without SO_REUSEPORT, so that a
// port in use is found out, and shared afterwards.
int bind_socket(Address& address, bool is_first, bool is_dual_stack) {
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (address.storage.ss_family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_dual_stack ? 0 : 1);
  if (!is_first) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
    const int cause = errno;
    ::close(fd);
    errno = cause;
    return -1;
  }
  if (is_first) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  socklen_t length = sizeof address.storage;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &length);
  return fd;
}

// One address for all groups; errno in the error case.
int open_address(Address address, int port, int backlog, bool is_dual_stack, Listeners& out) {
  address.set_port(port);
  for (size_t group = 0; group < out.groups.size(); ++group) {
    const int fd = bind_socket(address, group == 0, is_dual_stack);
    if (fd < 0) return errno;
    out.groups[group].push_back(fd);
    if (::listen(fd, backlog) != 0) return errno;
  }
  out.port = address.port();
  return 0;
}

Address any_address(int family) {
  Address address;
  address.storage.ss_family = static_cast<sa_family_t>(family);
  address.length = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  return address;
}

// The port that a listening TCP socket has; 0 if `fd` is none.
int listening_port(int fd) {
  int is_listening = 0;
  socklen_t length = sizeof is_listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &length) != 0 || is_listening == 0) return 0;
  Address address;
  address.length = sizeof address.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return 0;
  const bool is_internet = address.storage.ss_family == AF_INET || address.storage.ss_family == AF_INET6;
  return is_internet ? address.port() : 0;
}

}  // namespace

Result<Listeners> adopt_listeners(const std::vector<int>& handed, int num_groups) {
  Sockets sockets;
  auto& groups = sockets.listeners.groups;
  groups.resize(static_cast<size_t>(num_groups));
  for (size_t i = 0; i < handed.size(); ++i) groups[i % groups.size()].push_back(handed[i]);
  for (const int fd : handed) {
    sockets.listeners.port = listening_port(fd);
    if (sockets.listeners.port == 0) return fail(ErrorCode::kCorrupt, "descriptor {} is no socket that listens", fd);
  }
  if (handed.empty()) return fail(ErrorCode::kCorrupt, "no socket was handed over");
  for (size_t i = handed.size(); i < groups.size(); ++i) {   // more loops than sockets: two share one queue
    const int fd = ::fcntl(handed[i % handed.size()], F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return fail(ErrorCode::kInternal, "cannot share a listening socket: {}", std::strerror(errno));
    groups[i].push_back(fd);
  }
  return sockets.take();
}

Result<Listeners> open_listeners(const std::string& host, int port, int num_groups, int backlog) {
  Sockets sockets;
  sockets.listeners.groups.resize(static_cast<size_t>(num_groups));
  if (host.empty()) {
    int cause = open_address(any_address(AF_INET6), port, backlog, true, sockets.listeners);
    if (cause == EAFNOSUPPORT || cause == EADDRNOTAVAIL) {   // a machine without IPv6
      cause = open_address(any_address(AF_INET), port, backlog, false, sockets.listeners);
    }
    if (cause != 0) return tl::unexpected<Error>(listen_error(cause, host, port));
    return sockets.take();
  }
  GALE_ASSIGN(const std::vector<Address> addresses, resolve(host));
  int last_cause = EADDRNOTAVAIL;
  for (const Address& address : addresses) {   // "localhost" is ::1 and 127.0.0.1; one of them may not exist here
    const int wanted = sockets.listeners.port != 0 ? sockets.listeners.port : port;
    const int cause = open_address(address, wanted, backlog, false, sockets.listeners);
    if (cause == EADDRINUSE) return tl::unexpected<Error>(listen_error(cause, host, wanted));
    if (cause != 0) last_cause = cause;
  }
  if (sockets.listeners.port == 0) return tl::unexpected<Error>(listen_error(last_cause, host, port));
  return sockets.take();
}

}  // namespace gale
