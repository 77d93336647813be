#pragma once

#include <string>
#include <vector>

#include "net/client_tls.h"
#include "net/http_server.h"

namespace gale {

// The page's process, `gale ui`.
struct UiConfig {
  HttpServerConfig http = {.host = "127.0.0.1", .port = 7860, .ping_interval = std::chrono::milliseconds(20'000)};
  std::string api_url = "http://127.0.0.1:8000";   // without /v1
  ClientTlsConfig api_tls;
  std::string api_key;                             // sent to the API, never to the browser
  std::string password;                            // what people type to get in
  bool is_protected = true;  // on an address that others reach, ask for a password; make one if none is set
  std::vector<std::string>
      allowed_hosts;  // names under which browsers may reach it; localhost and addresses always may
  std::string version = "0.1.0";
};

}  // namespace gale
