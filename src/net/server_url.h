#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/client_tls.h"
#include "net/proxy.h"

namespace gale {

// Where a server is: of "http://127.0.0.1:8000/v1" host, port and the path before every target.
struct ServerUrl {
  std::string host;
  int port = 80;
  std::string prefix = {};             // "/v1", or empty
  // What its connections shake hands with, shared by them; null: plain HTTP.
  std::shared_ptr<boost::asio::ssl::context> tls = nullptr;
  std::optional<HttpProxy> proxy = {};   // through whom; set by whoever asks
};
// `tls` counts for https://.
[[nodiscard]] Result<ServerUrl> parse_server_url(std::string_view url, const ClientTlsConfig& tls = {});

}  // namespace gale
