#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/endpoints.h"

namespace gale {

inline constexpr std::string_view kChatSocketPath = "/v1/chat/completions";   // GET with an upgrade opens a WebSocket

struct Route {
  std::string_view method;
  std::string_view path;               // "…/*": everything below
  void (Endpoints::*handle)(Call&);
  bool is_public = false;              // needs no key, and no access line: probes
};

[[nodiscard]] std::span<const Route> all_routes();

struct RouteMatch {
  const Route* route = nullptr;        // null: none
  std::string allow;                   // methods of the path, if it exists: "GET, HEAD"
};
[[nodiscard]] RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace gale
