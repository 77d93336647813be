#include "server/api_server.h"

#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#include "api/errors.h"
#include "api/protocol_errors.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/no_memory.h"
#include "base/task_pool.h"
#include "server/access.h"
#include "server/endpoints.h"
#include "server/key_guard.h"
#include "server/routes.h"
#include "server/stats_reporter.h"

namespace gale {
namespace {

constexpr size_t kLargeBody = size_t{64} << 10;   // parsing more would hold up the streams of an I/O thread
constexpr int kNumWorkers = 2;
constexpr size_t kMaxWaitingBodies = 256;
constexpr std::chrono::milliseconds kDrainPoll{10};
constexpr std::chrono::milliseconds kLastWords{1000};   // for error frames of aborted requests to leave

class BeastApiServer final : public ApiServer, private HttpHandler {
 public:
  BeastApiServer(const ServerConfig& config, Pipeline& pipeline)
      : config_(config),
        pipeline_(pipeline),
        keys_(config.api_keys, config.has_key_file),
        metrics_(pipeline.model().name),
        endpoints_(config_, pipeline, metrics_),
        workers_(kNumWorkers, kMaxWaitingBodies) {}
  ~BeastApiServer() override { endpoints_.generations().abort_all(kLeaving); }

  // Without `handed_over` sockets it opens its own.
  [[nodiscard]] Status listen(const std::vector<int>& handed_over) {
    GALE_ASSIGN(http_, handed_over.empty() ? HttpServer::start(config_.http, *this)
                                           : HttpServer::start_on(config_.http, *this, handed_over));
    if (config_.stats_interval.count() > 0) stats_.emplace(pipeline_, metrics_, config_.stats_interval);
    return {};
  }

  int port() const override { return http_->port(); }
  std::string url() const override {
    const std::string& host = config_.http.host;
    const bool is_any = host.empty() || host == "0.0.0.0" || host == "::";
    const std::string shown = is_any ? "127.0.0.1" : bracketed(host);
    return fmt::format("{}://{}:{}", config_.http.tls.is_on() ? "https" : "http", shown, port());
  }
  int num_live_requests() const override { return endpoints_.generations().num_live(); }
  void set_file_keys(std::vector<KeyHash> keys) override { keys_.set_file_keys(std::move(keys)); }
  std::vector<int> duplicate_listeners() const override { return http_->duplicate_listeners(); }
  int leave_to_successor(const ShutdownPlan& plan, const std::function<bool()>& is_urged) override;
  Status reload_certificate() override { return http_->reload_tls(); }
  int shut_down(const ShutdownPlan& plan, const std::function<bool()>& is_urged) override;

 private:
  inline static const Error kLeaving{
      ErrorCode::kUnavailable, "the server is shutting down: try again elsewhere or later", {}};

  std::optional<HttpResponse> refuse(const RequestHead& head) override;
  std::optional<HttpResponse> refuse_key(const RequestHead& head, const Route& route, ErrorDialect dialect);
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override;
  void run(const Route& route, Call& call);
  bool takes_web_socket(const RequestHead& head) override {
    return head.method == "GET" && head.path == kChatSocketPath;
  }
  std::shared_ptr<WebSocketListener> open_web_socket(const RequestHead& head,
                                                     std::shared_ptr<WebSocket> socket) override;
  HttpResponse protocol_error(const HttpError& error) override;
  int end_all();
  [[nodiscard]] bool is_foreign(const RequestHead& head) const {
    return config_.is_protected && keys_.is_empty() && config_.http.host.empty() && !head.peer_is_loopback;
  }
  HttpResponse refusal(const RequestHead& head, std::string_view route, int status, std::string body,
                       HttpFields fields = {});

  const ServerConfig config_;
  Pipeline& pipeline_;
  KeyRing keys_;
  SteadyClock clock_;
  KeyGuard key_guard_{config_.max_wrong_keys_a_minute, clock_};
  ServingMetrics metrics_;
  Endpoints endpoints_;
  std::unique_ptr<HttpServer> http_;   // goes before what its calls refer to; after the workers that make answers
  std::optional<StatsReporter> stats_;
  TaskPool workers_;
};

HttpResponse BeastApiServer::refusal(const RequestHead& head, std::string_view route, int status, std::string body,
                                     HttpFields fields) {
  const Call::Setting setting{.route = std::string(route), .request_id = request_id_of(head), .fields = {}};
  note_request(metrics_, head, setting, status, 0);
  HttpFields all = cors_fields(head, config_.allowed_origins);
  all.emplace_back("X-Request-Id", setting.request_id);
  if (!body.empty()) all.emplace_back("Content-Type", "application/json");
  for (auto& field : fields) all.push_back(std::move(field));
  return {status, std::move(all), std::move(body)};
}

std::optional<HttpResponse> BeastApiServer::refuse_key(const RequestHead& head, const Route& route,
                                                       ErrorDialect dialect) {
  const auto opens = [this](const std::string& key) { return keys_.opens(key); };
  const KeyGuard::Verdict verdict = key_guard_.ask(head.peer, owner_of(head), opens);
  if (verdict == KeyGuard::Verdict::kOpen) return std::nullopt;
  if (verdict == KeyGuard::Verdict::kTooMany) {
    const Error error{
        ErrorCode::kOverloaded, "too many wrong API keys came from this address: wait, then try again", {}};
    return refusal(head, route.path, 429, error_body(error, dialect),
                   {{"Retry-After", fmt::format("{}", key_guard_.seconds_to_wait())}});
  }
  const Error error{ErrorCode::kUnauthorized,
                    "a valid API key is needed: `Authorization: Bearer KEY` or `X-Api-Key: KEY`", {}};
  return refusal(head, route.path, 401, error_body(error, dialect), {{"WWW-Authenticate", "Bearer"}});
}

// In the order of the contract: route, method, who asks, what type; all before a body is read.
std::optional<HttpResponse> BeastApiServer::refuse(const RequestHead& head) {
  constexpr std::string_view kNone = "none";   // one label for all unknown paths: they are the client's to invent
  const RouteMatch match = find_route(head.method, head.path);
  const ErrorDialect dialect = error_dialect_of(head.path);
  if (match.allow.empty())
    return refusal(head, kNone, 404, protocol_error_body(404, "there is no such route here", dialect));
  if (head.method == "OPTIONS") return refusal(head, kNone, 204, "", {{"Allow", match.allow + ", OPTIONS"}});
  if (match.route == nullptr) {
    return refusal(head, kNone, 405, protocol_error_body(405, "this route takes " + match.allow, dialect),
                   {{"Allow", match.allow}});
  }
  const Route& route = *match.route;
  const bool is_open = route.is_public || (config_.has_public_docs && is_docs(route));
  if (!is_open && !keys_.is_empty())
    if (std::optional<HttpResponse> answer = refuse_key(head, route, dialect)) return answer;
  if (is_foreign(head)) {
    const Error error{
        ErrorCode::kForbidden,
        "protected mode: started without --api-key and --host, this server answers its own machine only. Start it with "
        "--api-key KEY, with --host ADDRESS, or with --no-protected-mode on a trusted network",
        {}};
    return refusal(head, route.path, 403, error_body(error, dialect));
  }
  // Browsers open WebSockets to any origin without asking; whoever may not read our answers may not talk to us there,
  // either.
  if (head.field("upgrade") && head.field("origin") && cors_fields(head, config_.allowed_origins).empty()) {
    return refusal(head, route.path, 403,
                   error_body({ErrorCode::kForbidden, "pages of this origin may not open a WebSocket here", {}}));
  }
  if (head.method == "POST" && !is_json_content_type(head)) {
    const Error error{ErrorCode::kUnsupportedMedia, "Content-Type must be application/json", {}};
    return refusal(head, route.path, 415, error_body(error, dialect));
  }
  return std::nullopt;
}

void BeastApiServer::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  const RouteMatch match = find_route(request.head.method, request.head.path);
  const Route& route = *match.route;   // refuse() let it through
  const bool is_large = request.body.size() > kLargeBody;
  Call::Setting setting{.route = std::string(route.path), .request_id = request_id_of(request.head),
                        .fields = cors_fields(request.head, config_.allowed_origins),
                        .rate_limit = [this, who = owner_of(request.head)] { return pipeline_.rate_limit(who); },
                        .is_logged = config_.logs_access && !route.is_public,
                        .dialect = error_dialect_of(request.head.path)};
  const auto call = std::make_shared<Call>(std::move(request), std::move(exchange), std::move(setting), metrics_);
  call->on_end({});
  if (!is_large) return run(route, *call);
  const auto on_a_worker = [this, call, &route] {
    try {
      run(route, *call);
    } catch (const std::bad_alloc&) {   // not even for saying so; nobody else would
      when_there_is_memory([&] { call->reply_error(no_memory(), pipeline_.retry_after_s()); });
    }
  };
  if (workers_.try_run(on_a_worker)) return;
  call->reply_error({ErrorCode::kOverloaded, "too many large requests at once", {}}, pipeline_.retry_after_s());
}

// A request for which there is no memory fails alone.
void BeastApiServer::run(const Route& route, Call& call) {
  try {
    may_run_out_of_memory("server.handler");
    (endpoints_.*route.handle)(call);
  } catch (const std::bad_alloc&) {
    const Error error = no_memory();
    call.reply_error(error, pipeline_.retry_after_s());
  }
}

std::shared_ptr<WebSocketListener> BeastApiServer::open_web_socket(const RequestHead& head,
                                                                   std::shared_ptr<WebSocket> socket) {
  constexpr int kSwitchingProtocols = 101;
  const Call::Setting setting{.route = std::string(kChatSocketPath), .request_id = request_id_of(head), .fields = {}};
  note_request(metrics_, head, setting, kSwitchingProtocols, 0);
  return endpoints_.open_chat_socket(head, std::move(socket));
}

HttpResponse BeastApiServer::protocol_error(const HttpError& error) {
  return refusal({}, "none", error.status, protocol_error_body(error.status, error.message));
}

// `limit` counts from `start`.
void wait_until(std::chrono::steady_clock::time_point start, std::chrono::milliseconds limit,
                const std::function<bool()>& is_done, const std::function<bool()>& is_urged) {
  while (std::chrono::steady_clock::now() - start < limit && !is_done() && !is_urged())
    std::this_thread::sleep_for(kDrainPoll);
}

int BeastApiServer::leave_to_successor(const ShutdownPlan& plan, const std::function<bool()>& is_urged) {
  const auto start = std::chrono::steady_clock::now();
  endpoints_.leave();
  http_->leave_to_successor();
  const auto is_alone = [this] {
    return http_->num_connections() == http_->num_web_sockets() && endpoints_.generations().num_live() == 0;
  };
  wait_until(start, plan.timeout, is_alone, is_urged);
  endpoints_.generations().refuse_work();
  return end_all();
}

int BeastApiServer::shut_down(const ShutdownPlan& plan, const std::function<bool()>& is_urged) {
  const auto start = std::chrono::steady_clock::now();
  endpoints_.leave();
  wait_until(start, plan.drain_delay, [] { return false; }, is_urged);
  endpoints_.generations().refuse_work();
  http_->close_after_answers();
  const auto is_done = [this] { return http_->num_exchanges() == 0 && endpoints_.generations().num_live() == 0; };
  wait_until(start, plan.drain_delay + plan.timeout, is_done, is_urged);
  return end_all();
}

// What is still there gets its last words. How many requests that were.
int BeastApiServer::end_all() {
  const int num_cut = endpoints_.generations().abort_all(kLeaving);
  http_->stop_accepting();
  const auto last = std::chrono::steady_clock::now();
  while (http_->num_exchanges() > 0 && std::chrono::steady_clock::now() - last < kLastWords)
    std::this_thread::sleep_for(kDrainPoll);
  return num_cut;
}

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::start(const ServerConfig& config, Pipeline& pipeline) {
  return start_on({}, config, pipeline);
}

Result<std::unique_ptr<ApiServer>> ApiServer::start_on(const std::vector<int>& listening_sockets,
                                                       const ServerConfig& config, Pipeline& pipeline) {
  auto server = std::make_unique<BeastApiServer>(config, pipeline);
  GALE_TRY(server->listen(listening_sockets));
  log_info("Starting gale {} server on {}", config.version, server->url());
  log_info("Available routes are:");
  for (const Route& route : all_routes()) log_info("Route: {}, Methods: {}", route.path, route.method);
  return server;
}

}  // namespace gale
