#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/key_ring.h"
#include "server/server_config.h"
#include "serving/pipeline.h"

namespace gale {

// How a server leaves. Its answer to /ready is 503 at once; for `drain_delay` it still takes requests (balancers notice
// late); then new work is refused with 503 and running requests have until `timeout` to end; what is left gets an error
// and [DONE].
struct ShutdownPlan {
  std::chrono::milliseconds drain_delay{0};
  std::chrono::milliseconds timeout{30'000};
};

// The API over HTTP: routes, keys, health, metrics. Serves from start() until it is destroyed. Thread-safe.
class ApiServer {
 public:
  // Errors as HttpServer::start. `pipeline` outlives the server; it may still be loading.
  [[nodiscard]] static Result<std::unique_ptr<ApiServer>> start(const ServerConfig& config, Pipeline& pipeline);
  // The same on sockets that listen already, handed on by another server; they are this one's from now on.
  [[nodiscard]] static Result<std::unique_ptr<ApiServer>> start_on(const std::vector<int>& listening_sockets,
                                                                   const ServerConfig& config, Pipeline& pipeline);
  virtual ~ApiServer() = default;

  [[nodiscard]] virtual int port() const = 0;
  [[nodiscard]] virtual std::string url() const = 0;         // where this machine reaches it
  [[nodiscard]] virtual int num_live_requests() const = 0;

  // The keys of --api-key-file, from now on. Requests that are being answered go on.
  virtual void set_file_keys(std::vector<KeyHash> keys) = 0;

  // Its listening sockets for another server; the caller closes them.
  [[nodiscard]] virtual std::vector<int> duplicate_listeners() const = 0;
  // Leaves to a server that has these sockets: accepts nobody, but serves on whoever is connected, each for one request
  // more. Returns when all have left, or after plan.timeout; then as shut_down().
  virtual int leave_to_successor(const ShutdownPlan& plan, const std::function<bool()>& is_urged) = 0;
  // Certificate and key are read again; after an error the old ones stay.
  [[nodiscard]] virtual Status reload_certificate() = 0;

  // Returns when everything was answered. `is_urged` is asked every few milliseconds: true ends the waiting at once (a
  // second SIGTERM). The number of requests that had to be cut.
  virtual int shut_down(const ShutdownPlan& plan, const std::function<bool()>& is_urged) = 0;
};

}  // namespace gale
