#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/endpoints.h"

namespace gale {

inline constexpr std::string_view kChatSocketPath = "/v1/chat/completions";   // GET with an upgrade opens a WebSocket

// What /openapi.json says of a route. Names are those of its components.
struct RouteDoc {
  std::string_view tag;                // the group it stands in
  std::string_view summary;
  std::string_view request = "";       // the body's schema (api/field_table.h)
  std::string_view answer = "";        // the schema of a 200; empty: text
  std::string_view event = "";         // the schema of a stream's events, if it can stream
  std::string_view parameter = "";     // what "*" in the path stands for
};

struct Route {
  std::string_view method;
  std::string_view path;               // "…/*": everything below
  void (Endpoints::*handle)(Call&);
  RouteDoc doc;
  bool is_public = false;              // needs no key, and no access line: probes
};

[[nodiscard]] std::span<const Route> all_routes();
[[nodiscard]] bool is_docs(const Route& route);   // what --public-docs opens

struct RouteMatch {
  const Route* route = nullptr;        // null: none
  std::string allow;                   // methods of the path, if it exists: "GET, HEAD"
};
[[nodiscard]] RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace gale
