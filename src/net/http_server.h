#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/exchange.h"
#include "net/request_rules.h"
#include "net/tls_context.h"

namespace gale {

struct HttpServerConfig {
  std::string host;                        // empty: all interfaces
  int port = 8000;                         // 0: a free one
  int num_io_threads = 2;
  int backlog = 4096;
  int max_connections = 16384;             // beyond: 503 and closed
  RequestLimits limits;
  TlsConfig tls;                           // no files: plain HTTP
  size_t max_pending_bytes = size_t{1} << 20;   // unsent bytes of a stream; a reader slower than that is cut
  int64_t min_body_bytes_per_s = 1024;     // a slower upload is cut (408), after body_grace
  std::chrono::milliseconds body_grace{10'000};
  std::chrono::milliseconds header_timeout{10'000};   // of a TLS handshake, too
  std::chrono::milliseconds idle_timeout{75'000};
  std::chrono::milliseconds write_timeout{60'000};   // no byte of an answer could be written for that long
  std::chrono::milliseconds linger{2'000};           // reading on after an early answer, so that it is not lost
  std::chrono::milliseconds ping_interval{10'000};
};

// HTTP/1.1 over TCP or TLS: one event loop and one acceptor (SO_REUSEPORT) an I/O thread. Knows no routes.
class HttpServer {
 public:
  // Listens and serves. kBusy if the port is taken, kInvalidArgument if the host is no address of this machine, or
  // if there is something wrong with the certificate or its key.
  // `handler` outlives the server.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(const HttpServerConfig& config, HttpHandler& handler);
  // The same on sockets that listen already (another server's duplicate_listeners()); they are this server's from now
  // on. Host and port of the configuration mean nothing.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start_on(const HttpServerConfig& config,
                                                                    HttpHandler& handler,
                                                                    const std::vector<int>& listening_sockets);
  // Cuts whatever is still open.
  virtual ~HttpServer() = default;

  [[nodiscard]] virtual int port() const = 0;
  [[nodiscard]] virtual int num_connections() const = 0;
  [[nodiscard]] virtual int num_web_sockets() const = 0;    // of the connections
  [[nodiscard]] virtual int num_exchanges() const = 0;      // requests being answered
  // Descriptors of the listening sockets, the caller's to close: they listen on when this server no longer does.
  [[nodiscard]] virtual std::vector<int> duplicate_listeners() const = 0;
  // Reads certificate and key again: connections from now on shake hands with them. After an error the old ones stay.
  [[nodiscard]] virtual Status reload_tls() = 0;
  // From now on every answer closes its connection, so that clients move elsewhere.
  virtual void close_after_answers() = 0;
  // Another server accepts from now on: connections that are there are served on, one request each; those that bring
  // none are closed after a moment, long enough that a request on its way is not lost.
  virtual void leave_to_successor() = 0;
  // Stops accepting and closes idle connections; exchanges go on.
  virtual void stop_accepting() = 0;
};

}  // namespace gale
