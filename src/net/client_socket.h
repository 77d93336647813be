#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "net/server_url.h"

namespace gale {

class ClientTlsSession;

// A blocking connection to a server, over TLS where its address says so. Errors: kUnavailable where nobody listens, the
// certificate is not trusted or the connection broke; kDeadline where nothing came or went for `timeout`.
class ClientSocket {
 public:
  [[nodiscard]] static Result<ClientSocket> connect(const ServerUrl& server, std::chrono::seconds timeout);
  ClientSocket(ClientSocket&&) noexcept;
  ClientSocket& operator=(ClientSocket&&) noexcept;
  ~ClientSocket();

  [[nodiscard]] Status write_all(std::string_view bytes);
  // How many bytes came; 0: the server has closed.
  [[nodiscard]] Result<size_t> read_some(std::span<char> buffer);

 private:
  ClientSocket(UniqueFd fd, std::chrono::seconds timeout);
  [[nodiscard]] Status ask_proxy(const ServerUrl& server);   // for a tunnel to the server
  [[nodiscard]] Status shake_hands(const ServerUrl& server);
  [[nodiscard]] tl::unexpected<Error> trouble(std::string_view doing) const;   // by errno

  UniqueFd fd_;
  std::chrono::seconds timeout_;
  std::unique_ptr<ClientTlsSession> tls_;   // none: plain TCP
};

}   // namespace gale
