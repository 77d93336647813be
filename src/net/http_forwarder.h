#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "net/exchange.h"
#include "net/server_url.h"

namespace gale {

struct ForwarderConfig {
  ServerUrl server;
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds silence_timeout{300'000};  // no byte of an answer came for that long
  size_t max_reply_bytes = size_t{64} << 20;           // of an answer, or of one event of a stream
  int max_live = 512;                                  // requests under way
};

// What goes to the server. Host, Content-Length and Connection are added.
struct ForwardRequest {
  std::string method;
  std::string target;                  // path and query, below the server's prefix
  HttpFields fields;
  std::string body;
};

// What goes to the client besides the server's status, body, Content-Type, Retry-After, X-Request-Id and X-Stream-Id.
struct ForwardAnswer {
  HttpFields fields;
  // The answer where the server gave none: kUnavailable (nobody listens, it closed early), kDeadline (silent for too
  // long), kOverloaded (max_live). Called at most once, from any thread.
  std::function<HttpResponse(const Error&)> failed;
};

// A client of one HTTP server that passes answers on: event streams event by event as they come, others whole.
// Whichever side ends first ends the other, so that a client that leaves frees the server's slot. A stream that the
// server cuts ends without its last event. Thread-safe.
class HttpForwarder {
 public:
  [[nodiscard]] static std::unique_ptr<HttpForwarder> start(const ForwarderConfig& config);
  // Cuts what is under way. Exchanges that were handed in must have ended by then, or end unanswered.
  virtual ~HttpForwarder() = default;
  virtual void forward(ForwardRequest request, std::shared_ptr<Exchange> exchange, ForwardAnswer answer) = 0;
  [[nodiscard]] virtual int num_live() const = 0;
};

}  // namespace gale
