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

Result<ServerUrl> parse_server_url(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is no address of a server: expected http://HOST:PORT", url);
  }
  std::string_view rest = url.substr(kScheme.size());
  ServerUrl out;
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
  return out;
}

}  // namespace gale
