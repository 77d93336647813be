#include "server/routes.h"

namespace gale {
namespace {

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", &Endpoints::chat_completions},
    {"GET", kChatSocketPath, &Endpoints::needs_web_socket},
    {"GET", "/v1/streams/*", &Endpoints::resume_stream},
    {"DELETE", "/v1/streams/*", &Endpoints::cancel_stream},
    {"POST", "/v1/completions", &Endpoints::completions},
    {"POST", "/v1/responses", &Endpoints::responses},
    {"GET", "/v1/responses/*", &Endpoints::show_response},
    {"DELETE", "/v1/responses/*", &Endpoints::delete_response},
    {"POST", "/v1/responses/*", &Endpoints::cancel_response},
    {"POST", "/v1/messages", &Endpoints::messages},
    {"POST", "/v1/messages/count_tokens", &Endpoints::count_message_tokens},
    {"GET", "/v1/models", &Endpoints::list_models},
    {"GET", "/v1/models/*", &Endpoints::show_model},
    {"POST", "/tokenize", &Endpoints::tokenize},
    {"POST", "/v1/tokenize", &Endpoints::tokenize},
    {"POST", "/detokenize", &Endpoints::detokenize},
    {"POST", "/v1/detokenize", &Endpoints::detokenize},
    {"GET", "/health", &Endpoints::health, true},
    {"GET", "/live", &Endpoints::live, true},
    {"GET", "/livez", &Endpoints::live, true},
    {"GET", "/ready", &Endpoints::ready, true},
    {"GET", "/readyz", &Endpoints::ready, true},
    {"GET", "/version", &Endpoints::version},
    {"GET", "/metrics", &Endpoints::metrics},
    {"GET", "/", &Endpoints::root},
};

bool matches(const Route& route, std::string_view path) {
  if (!route.path.ends_with("/*")) return route.path == path;
  const std::string_view prefix = route.path.substr(0, route.path.size() - 1);
  return path.starts_with(prefix) && path.size() > prefix.size();
}

}  // namespace

std::span<const Route> all_routes() { return kRoutes; }

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  for (const Route& route : kRoutes) {
    if (!matches(route, path)) continue;
    const bool takes_method = route.method == method || (route.method == "GET" && method == "HEAD");
    if (takes_method) match.route = &route;
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += route.method == "GET" ? "GET, HEAD" : route.method;
  }
  return match;
}

}  // namespace gale
