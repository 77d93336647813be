#include "net/server_url.h"

#include <algorithm>
#include <charconv>

namespace gale {
namespace {

bool read_port(std::string_view text, int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= 1 && out <= 65535;
}

}  // namespace

Result<ServerUrl> parse_server_url(std::string_view url, const ClientTlsConfig& tls) {
  constexpr std::string_view kPlain = "http://";
  constexpr std::string_view kSecure = "https://";
  const bool is_secure = url.starts_with(kSecure);
  if (!is_secure && !url.starts_with(kPlain)) {
    return fail(ErrorCode::kInvalidArgument,
                "'{}' is no address of a server: expected http://HOST:PORT or https://HOST:PORT", url);
  }
  std::string_view rest = url.substr(is_secure ? kSecure.size() : kPlain.size());
  ServerUrl out;
  if (is_secure) out.port = 443;
  const size_t slash = std::min(rest.find('/'), rest.size());
  out.prefix = std::string(rest.substr(slash));
  while (out.prefix.ends_with('/')) out.prefix.pop_back();
  std::string_view place = rest.substr(0, slash);
  const size_t colon = place.rfind(':');
  const bool has_port = colon != std::string_view::npos && place.find(']', colon) == std::string_view::npos;
  if (has_port && !read_port(place.substr(colon + 1), out.port)) {
    return fail(ErrorCode::kInvalidArgument, "'{}': the port is no number from 1 to 65535", url);
  }
  if (has_port) place = place.substr(0, colon);
  if (place.starts_with('[') && place.ends_with(']')) place = place.substr(1, place.size() - 2);
  if (place.empty()) return fail(ErrorCode::kInvalidArgument, "'{}' names no host", url);
  out.host = std::string(place);
  if (is_secure) {
    GALE_ASSIGN(out.tls, load_client_tls(tls));
  }
  return out;
}

}  // namespace gale
