#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"
#include "net/web_socket.h"

namespace gale {

inline constexpr std::string_view kCommentPing = ": ping\n\n";

enum class ExchangeEnd { kSent, kClientGone, kSlowReader, kShutdown };

// The answer to one request, whole or as a stream. Thread-safe; nothing here blocks or waits for the client. Call
// reply(), or start_stream(), send() … and finish(). After the end (client gone) all calls do nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void reply(HttpResponse response) = 0;
  // Status and fields go out at once; the body follows in pieces. `ping` is sent whenever the stream has been silent
  // for the server's ping interval.
  virtual void start_stream(HttpResponse head, std::string ping) = 0;
  virtual void send(std::string_view bytes) = 0;
  virtual void finish() = 0;
  // Called once from an I/O thread, holding no lock: everything was sent, or nothing more can be. At once, from this
  // thread, if that is so already. A client that closes its connection while its answer is being computed ends the
  // exchange.
  virtual void on_end(std::function<void(ExchangeEnd)> callback) = 0;
};

// Called from I/O threads; must not block for long.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Before the body is read: an answer here means the body is not wanted.
  [[nodiscard]] virtual std::optional<HttpResponse> refuse(const RequestHead& head) = 0;
  virtual void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) = 0;
  // Whether a request that asks for a WebSocket is to have one; else it is handled like any other. After refuse().
  [[nodiscard]] virtual bool takes_web_socket(const RequestHead&) { return false; }
  // Who listens to it.
  [[nodiscard]] virtual std::shared_ptr<WebSocketListener> open_web_socket(const RequestHead&,
                                                                           std::shared_ptr<WebSocket>) {
    return nullptr;
  }
  // The answer to a request that breaks HTTP or a limit; `head` has what could be read.
  [[nodiscard]] virtual HttpResponse protocol_error(const HttpError& error) = 0;
};

}  // namespace gale
