#include "net/client_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <boost/asio/ssl/context.hpp>
#include <cerrno>
#include <climits>
#include <cstring>

#include "net/client_tls.h"
#include "net/http.h"

namespace gale {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

int as_int(size_t size) { return static_cast<int>(std::min<size_t>(size, INT_MAX)); }

bool has_timed_out() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS; }

void limit_waiting(int fd, std::chrono::seconds timeout) {
  const timeval limit{.tv_sec = timeout.count(), .tv_usec = 0};
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

}   // namespace

// OpenSSL's side of a connection.
class ClientTlsSession {
 public:
  ClientTlsSession(const ServerUrl& server, int fd) : ssl_(SSL_new(server.tls->native_handle())), context_(server.tls) {
    if (ssl_ != nullptr) SSL_set_fd(ssl_, fd);
  }
  ClientTlsSession(const ClientTlsSession&) = delete;
  ClientTlsSession& operator=(const ClientTlsSession&) = delete;
  ~ClientTlsSession() { SSL_free(ssl_); }
  [[nodiscard]] SSL* get() const { return ssl_; }

 private:
  SSL* const ssl_;
  const std::shared_ptr<boost::asio::ssl::context> context_;
};

ClientSocket::ClientSocket(UniqueFd fd, std::chrono::seconds timeout) : fd_(std::move(fd)), timeout_(timeout) {}
ClientSocket::ClientSocket(ClientSocket&&) noexcept = default;
ClientSocket& ClientSocket::operator=(ClientSocket&&) noexcept = default;
ClientSocket::~ClientSocket() = default;

tl::unexpected<Error> ClientSocket::trouble(std::string_view doing) const {
  if (has_timed_out()) return fail(ErrorCode::kDeadline, "nothing came for {} s", timeout_.count());
  return fail(ErrorCode::kUnavailable, "{}: {}", doing, std::strerror(errno));
}

Result<ClientSocket> ClientSocket::connect(const ServerUrl& server, std::chrono::seconds timeout) {
  const addrinfo wanted{.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const std::string& host = server.proxy ? server.proxy->host : server.host;
  const int port = server.proxy ? server.proxy->port : server.port;
  const int looked_up = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (looked_up != 0) return fail(ErrorCode::kUnavailable, "host {}: {}", host, gai_strerror(looked_up));
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  int cause = ECONNREFUSED;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    UniqueFd fd(::socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0));
    if (fd.is_open()) limit_waiting(fd.get(), timeout);   // of connecting, too
    if (!fd.is_open() || ::connect(fd.get(), address->ai_addr, address->ai_addrlen) != 0) {
      cause = errno;
      continue;
    }
    ClientSocket socket(std::move(fd), timeout);
    if (server.tls && server.proxy) GALE_TRY(socket.ask_proxy(server));
    if (server.tls) GALE_TRY(socket.shake_hands(server));
    return socket;
  }
  return fail(ErrorCode::kUnavailable, "nobody answers at {}{}:{}: {}", server.proxy ? "the proxy " : "", host, port,
              cause == EINPROGRESS ? "it takes too long" : std::strerror(cause));
}

Status ClientSocket::ask_proxy(const ServerUrl& server) {
  constexpr size_t kMaxHead = size_t{16} << 10;
  const std::string target = fmt::format("{}:{}", bracketed(server.host), server.port);
  std::string request = fmt::format("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", target);
  if (!server.proxy->authorization.empty()) request += "Proxy-Authorization: " + server.proxy->authorization + "\r\n";
  GALE_TRY(write_all(request + "\r\n"));
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {   // a byte at a time: what follows is the server's
    char byte = 0;
    GALE_ASSIGN(const size_t got, read_some({&byte, 1}));
    if (got == 0 || head.size() > kMaxHead) {
      return fail(ErrorCode::kUnavailable, "the proxy {}:{} does not answer as one", server.proxy->host,
                  server.proxy->port);
    }
    head += byte;
  }
  const std::string status = head.substr(std::min(head.find(' ') + 1, head.size()), 3);
  if (status == "200") return {};
  return fail(ErrorCode::kUnavailable, "the proxy {}:{} does not let {} through: status {}", server.proxy->host,
              server.proxy->port, target, status);
}

Status ClientSocket::shake_hands(const ServerUrl& server) {
  tls_ = std::make_unique<ClientTlsSession>(server, fd_.get());
  if (tls_->get() == nullptr) return fail(ErrorCode::kOutOfMemory, "there is no memory for a TLS connection");
  GALE_TRY(expect_server(tls_->get(), server));
  ERR_clear_error();
  errno = 0;
  if (SSL_connect(tls_->get()) == 1) return {};
  if (has_timed_out()) return trouble("");
  return fail(ErrorCode::kUnavailable, "{}:{}: {}", server.host, server.port,
              handshake_failure(tls_->get(), ERR_get_error()));
}

Status ClientSocket::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    errno = 0;
    ERR_clear_error();
    const ssize_t sent = tls_ ? SSL_write(tls_->get(), bytes.data(), as_int(bytes.size()))
                              : ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0 && errno == EINTR) continue;
    if (sent <= 0) return trouble("sending failed");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

Result<size_t> ClientSocket::read_some(std::span<char> buffer) {
  while (true) {
    errno = 0;
    ERR_clear_error();
    const ssize_t got = tls_ ? SSL_read(tls_->get(), buffer.data(), as_int(buffer.size()))
                             : ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) return static_cast<size_t>(got);
    if (errno == EINTR) continue;
    if (!tls_ && got == 0) return size_t{0};
    const int kind = tls_ ? SSL_get_error(tls_->get(), static_cast<int>(got)) : SSL_ERROR_SYSCALL;
    if (kind == SSL_ERROR_ZERO_RETURN) return size_t{0};
    if (kind == SSL_ERROR_SSL && !has_timed_out()) {
      const char* reason = ERR_reason_error_string(ERR_peek_last_error());
      return fail(ErrorCode::kUnavailable, "the connection broke: {}", reason != nullptr ? reason : "TLS failed");
    }
    return trouble("the connection broke");
  }
}

}   // namespace gale
