#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace gale {

struct ServerUrl;

// Through whom connections to other machines go, as curl and Python's tools have it.
struct ProxyConfig {
  std::string http;    // HTTP_PROXY: for http://
  std::string https;   // HTTPS_PROXY: for https://
  std::string none;    // NO_PROXY: hosts that are asked directly: "example.com" and what is below it, with or without
                       // a leading dot, "host:port", or "*"
};

// A proxy: HTTP/1.1 over TCP.
struct HttpProxy {
  std::string host;
  int port = 80;
  std::string authorization;   // value of Proxy-Authorization; empty: none
};

// The proxy for that server; none: it is asked directly. Errors name the variable.
[[nodiscard]] Result<std::optional<HttpProxy>> proxy_for(const ProxyConfig& config, const ServerUrl& server);

}  // namespace gale
