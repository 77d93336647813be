#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace boost::asio::ssl {
class context;
}

namespace gale {

// Where a server's certificate is; no files: no TLS.
struct TlsConfig {
  std::string certificate_file;        // PEM: the server's own first, then those that signed it
  std::string key_file;                // PEM, without a passphrase
  std::string ciphers;                 // of TLS 1.2, as OpenSSL names them; empty: its defaults
  [[nodiscard]] bool is_on() const { return !certificate_file.empty() || !key_file.empty(); }
};

// What connections shake hands with: TLS 1.2 and 1.3, HTTP/1.1 by ALPN. Shared by those that began with it; a reload
// gives the next ones another. Errors name the flag and the file.
[[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> load_tls_context(const TlsConfig& config);

// Whether OpenSSL says that the peer talks plain HTTP.
[[nodiscard]] bool is_plain_http(unsigned long error);

}  // namespace gale
