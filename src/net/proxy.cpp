#include "net/proxy.h"

#include <algorithm>

#include "base/base64.h"
#include "net/http.h"
#include "net/server_url.h"

namespace gale {
namespace {

// "%40" as "@": names and passwords are written so in addresses. Unlike percent_decode it keeps what is none of that.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_code =
        text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0;
    out += is_code ? static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2])) : text[i];
    if (is_code) i += 2;
  }
  return out;
}

// One entry of NO_PROXY.
bool covers(std::string_view entry, const ServerUrl& server) {
  if (entry == "*") return true;
  const std::string port = fmt::format(":{}", server.port);
  if (entry.ends_with(port)) entry.remove_suffix(port.size());
  if (entry.starts_with("*")) entry.remove_prefix(1);
  if (entry.starts_with('.')) entry.remove_prefix(1);
  if (entry.starts_with('[') && entry.ends_with(']')) entry = entry.substr(1, entry.size() - 2);
  if (entry.empty() || entry.size() > server.host.size()) return false;
  const std::string_view host = server.host;
  const size_t before = host.size() - entry.size();
  return equal_ignoring_case(host.substr(before), entry) && (before == 0 || host[before - 1] == '.');
}

bool is_asked_directly(std::string_view list, const ServerUrl& server) {
  while (!list.empty()) {
    const size_t end = std::min(list.find_first_of(", "), list.size());
    if (covers(list.substr(0, end), server)) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

}  // namespace

Result<std::optional<HttpProxy>> proxy_for(const ProxyConfig& config, const ServerUrl& server) {
  const std::string& url = server.tls ? config.https : config.http;
  if (url.empty() || is_asked_directly(config.none, server)) return std::nullopt;
  const char* const variable = server.tls ? "HTTPS_PROXY" : "HTTP_PROXY";
  const size_t scheme = url.find("://");
  if (scheme != std::string::npos && !url.starts_with("http://")) {
    return fail(ErrorCode::kInvalidArgument, "{}: only proxies of the form http://HOST:PORT can be used, not {}://",
                variable, url.substr(0, scheme));
  }
  std::string_view rest = std::string_view(url).substr(scheme == std::string::npos ? 0 : scheme + 3);
  rest = rest.substr(0, rest.find('/'));
  HttpProxy out;
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    out.authorization = "Basic " + base64(percent_decoded(rest.substr(0, at)));
    rest.remove_prefix(at + 1);
  }
  Result<ServerUrl> place = parse_server_url("http://" + std::string(rest));
  if (!place) {                          // the address may hold a password, so it is not repeated
    return fail(ErrorCode::kInvalidArgument, "{} is no address of a proxy: expected http://HOST:PORT", variable);
  }
  out.host = std::move(place->host);
  out.port = place->port;
  return out;
}

}  // namespace gale
