#include "ui/ui_server.h"

#include <array>
#include <chrono>

#include "base/json.h"
#include "base/log.h"
#include "base/task_pool.h"
#include "media/document_text.h"
#include "net/http_forwarder.h"
#include "ui/assets.h"
#include "ui/page_access.h"

namespace gale {
namespace {

// Nothing but our own files runs, is styled with or is spoken to; HTML can be written only through the sanitiser's
// policy.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src "
    "'self'; "
    "worker-src 'self' blob:; frame-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify gale-worker";

const HttpFields& security_fields() {
  static const HttpFields fields = {
      {"Content-Security-Policy", std::string(kContentSecurityPolicy)},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"X-Frame-Options", "DENY"}};
  return fields;
}

struct ProxiedRoute {
  std::string_view method;
  std::string_view path;               // "…/*": everything below
};
constexpr ProxiedRoute kProxied[] = {
    {"GET", "/health"},
    {"GET", "/ready"},
    {"GET", "/version"},
    {"GET", "/server_info"},
    {"GET", "/docs/guide"},
    {"GET", "/docs/guide/*"},
    {"GET", "/metrics"},
    {"GET", "/v1/models"},
    {"GET", "/v1/models/*"},
    {"POST", "/v1/chat/completions"},
    {"POST", "/v1/chat/completions/render"},
    {"POST", "/tokenize"},
    {"POST", "/detokenize"},
    {"GET", "/v1/streams/*"},
    {"DELETE", "/v1/streams/*"},
};
constexpr size_t kMaxUploadBytes = size_t{32} << 20;
constexpr int kNumReaders = 2;                 // documents read at once
constexpr size_t kMaxWaitingDocuments = 8;
constexpr std::array kFieldsToApi = {"content-type", "accept", "x-request-id", "x-stream-resumable", "last-event-id"};

bool is_proxied(std::string_view method, std::string_view path) {
  for (const ProxiedRoute& route : kProxied) {
    if (route.method != method) continue;
    if (route.path == path) return true;
    const std::string_view folder = route.path.substr(0, route.path.size() - 1);
    if (route.path.ends_with("/*") && path.starts_with(folder) && path.size() > folder.size()) return true;
  }
  return false;
}

HttpResponse answer(int status, std::string body, HttpFields fields = {}) {
  HttpResponse out{status, security_fields(), std::move(body)};
  if (!out.body.empty()) out.fields.emplace_back("Content-Type", "application/json");
  out.fields.emplace_back("Cache-Control", "no-store");
  for (auto& field : fields) out.fields.push_back(std::move(field));
  return out;
}

// In the form of the API's own errors.
HttpResponse error_answer(int status, std::string_view code, std::string message, HttpFields fields = {}) {
  const Json body = {
      {"error", {{"message", std::move(message)}, {"type", "page_error"}, {"param", nullptr}, {"code", code}}}};
  return answer(status, dump_json(body), std::move(fields));
}

HttpResponse unreachable(const Error& error) {
  if (error.code == ErrorCode::kOverloaded)
    return error_answer(429, "overloaded", error.message, {{"Retry-After", "2"}});
  if (error.code == ErrorCode::kDeadline) return error_answer(504, "api_timeout", error.message);
  return error_answer(502, "api_unreachable", error.message, {{"Retry-After", "2"}});
}

int64_t wall_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class PageServer final : public UiServer, private HttpHandler {
 public:
  PageServer(const UiConfig& config, ServerUrl api)
      : config_(config),
        made_password_(needs_made_password(config) ? make_password() : ""),
        door_(made_password_.empty() ? config.password : made_password_),
        forwarder_(HttpForwarder::start({.server = std::move(api)})) {}

  [[nodiscard]] Status listen() {
    GALE_ASSIGN(http_, HttpServer::start(config_.http, *this));
    return {};
  }
  int port() const override { return http_->port(); }
  std::string made_password() const override { return made_password_; }
  std::string url() const override {
    const std::string& host = config_.http.host;
    const bool is_any = host.empty() || host == "0.0.0.0" || host == "::";
    const std::string shown = is_any ? "127.0.0.1" : bracketed(host);
    return fmt::format("http://{}:{}", shown, port());
  }

 private:
  static bool needs_made_password(const UiConfig& config) {
    return config.password.empty() && config.is_protected && !is_loopback_host(config.http.host);
  }
  std::optional<HttpResponse> refuse(const RequestHead& head) override;
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override;
  HttpResponse protocol_error(const HttpError& error) override {
    return error_answer(error.status, "bad_request", error.message);
  }

  [[nodiscard]] HttpResponse state(const RequestHead& head) const;
  [[nodiscard]] HttpResponse log_in(const HttpRequest& request);
  void extract(HttpRequest request, std::shared_ptr<Exchange> exchange);
  void forward(HttpRequest request, std::shared_ptr<Exchange> exchange);

  const UiConfig config_;
  const std::string made_password_;
  PageDoor door_;
  std::unique_ptr<HttpForwarder> forwarder_;   // outlives the exchanges that it answers
  std::unique_ptr<HttpServer> http_;
  TaskPool readers_{kNumReaders, kMaxWaitingDocuments};   // of documents
};

std::optional<HttpResponse> PageServer::refuse(const RequestHead& head) {
  if (!is_allowed_host(head.field("host").value_or(""), config_.allowed_hosts)) {
    return error_answer(403, "host_not_allowed",
                        "this name is not one of the page's own: reach it by address or as localhost, "
                        "or start gale ui with --allowed-host and the name");
  }
  const bool is_read = head.method == "GET" || head.method == "HEAD";
  if (is_read && find_asset(head.path) != nullptr)
    return std::nullopt;  // public: the page asks for the password itself
  if (!is_same_origin(head)) return error_answer(403, "cross_origin", "only the page itself may ask for this");
  if (is_read && head.path == "/ui/state") return std::nullopt;
  // What a form of another site could send without asking has one of three other types.
  const bool is_upload = head.method == "POST" && head.path == "/ui/extract";
  if (is_upload && !head.field("x-gale-page"))
    return error_answer(403, "cross_origin", "only the page itself may ask for this");
  const bool is_json = head.field("content-type").value_or("").starts_with("application/json");
  if (head.method == "POST" && !is_json && !is_upload)
    return error_answer(415, "unsupported_media_type", "Content-Type must be application/json");
  if (head.method == "POST" && (head.path == "/ui/login" || head.path == "/ui/logout")) return std::nullopt;
  if (!is_upload && !is_proxied(head.method, head.path)) return error_answer(404, "not_found", "there is nothing here");
  if (!door_.lets_in(head, wall_seconds())) return error_answer(401, "password_needed", "log in first");
  return std::nullopt;
}

void PageServer::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  const RequestHead& head = request.head;
  const Asset* asset = find_asset(head.path);
  if (asset != nullptr) {
    HttpResponse response = asset_response(*asset, head);
    response.fields.insert(response.fields.end(), security_fields().begin(), security_fields().end());
    return exchange->reply(std::move(response));
  }
  if (head.path == "/ui/state") return exchange->reply(state(head));
  if (head.path == "/ui/login") return exchange->reply(log_in(request));
  if (head.path == "/ui/logout") return exchange->reply(answer(204, "", {{"Set-Cookie", PageDoor::farewell_cookie()}}));
  if (head.path == "/ui/extract") return extract(std::move(request), std::move(exchange));
  forward(std::move(request), std::move(exchange));
}

HttpResponse PageServer::state(const RequestHead& head) const {
  return answer(200, dump_json({{"version", config_.version},
                                {"assets", assets_version()},
                                {"has_password", !door_.is_open()},
                                {"is_logged_in", door_.lets_in(head, wall_seconds())},
                                {"limits", {{"upload_bytes", kMaxUploadBytes}}}}));
}

HttpResponse PageServer::log_in(const HttpRequest& request) {
  const int64_t now_s = wall_seconds();
  if (door_.is_barred(now_s)) {
    return error_answer(429, "too_many_tries", "too many wrong passwords: wait a minute",
                        {{"Retry-After", std::to_string(PageDoor::kBarSeconds)}});
  }
  const Result<Json> body = parse_json(request.body);
  const bool has_password = body && body->is_object() && body->contains("password") && (*body)["password"].is_string();
  if (!has_password) return error_answer(400, "invalid_json", "expected {\"password\": \"...\"}");
  const std::string cookie = door_.let_in((*body)["password"].get<std::string>(), now_s);
  if (cookie.empty()) {
    log_warning("a wrong password from {}", request.head.peer);
    return error_answer(401, "wrong_password", "the password is wrong");
  }
  return answer(204, "", {{"Set-Cookie", cookie}});
}

// The text of an uploaded file. It is read on threads of its own: a PDF can take seconds.
void PageServer::extract(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  if (request.body.size() > kMaxUploadBytes) {
    return exchange->reply(
        error_answer(413, "body_too_large", fmt::format("the file is larger than {} MiB", kMaxUploadBytes >> 20)));
  }
  const auto body = std::make_shared<std::string>(std::move(request.body));   // std::function copies what it holds
  const bool is_taken = readers_.try_run([body, exchange] {
    const auto text = read_document(*body);
    if (text) return exchange->reply(answer(200, dump_json({{"pages", text->pages}})));
    exchange->reply(error_answer(422, trouble_name(text.error()), std::string(trouble_text(text.error()))));
  });
  if (!is_taken) exchange->reply(error_answer(429, "overloaded", "too many files at once", {{"Retry-After", "2"}}));
}

void PageServer::forward(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  ForwardRequest out{
      .method = request.head.method, .target = request.head.target, .fields = {}, .body = std::move(request.body)};
  for (const char* name : kFieldsToApi) {
    const auto value = request.head.field(name);
    if (value) out.fields.emplace_back(name, std::string(*value));
  }
  if (!config_.api_key.empty()) out.fields.emplace_back("Authorization", "Bearer " + config_.api_key);
  HttpFields fields = security_fields();
  fields.emplace_back("Cache-Control", "no-store");
  fields.emplace_back("X-Accel-Buffering", "no");
  forwarder_->forward(std::move(out), std::move(exchange), {.fields = std::move(fields), .failed = unreachable});
}

}  // namespace

Result<std::unique_ptr<UiServer>> UiServer::start(const UiConfig& config) {
  GALE_ASSIGN(ServerUrl api, parse_server_url(config.api_url, config.api_tls));
  if (api.prefix == "/v1") api.prefix.clear();   // as other tools take it
  auto server = std::make_unique<PageServer>(config, std::move(api));
  GALE_TRY(server->listen());
  return server;
}

}  // namespace gale
