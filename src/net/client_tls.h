#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace boost::asio::ssl {
class context;
}
struct ssl_st;

namespace gale {

struct ServerUrl;

// Whom a client believes to be the server that it asked for.
struct ClientTlsConfig {
  std::string ca_file;        // PEM: who may sign certificates; empty: whom the system trusts
  bool is_insecure = false;   // believes anybody
};

// What connections of a client shake hands with: TLS 1.2 and 1.3. Errors name the flag and the file.
[[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> load_client_tls(const ClientTlsConfig& config);

// Before a handshake: it must be this server's certificate.
[[nodiscard]] Status expect_server(ssl_st* session, const ServerUrl& server);

// Why a handshake failed and what to do, in one line; `error` as OpenSSL codes it.
[[nodiscard]] std::string handshake_failure(ssl_st* session, unsigned long error);

}   // namespace gale
