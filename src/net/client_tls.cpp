#include "net/client_tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <boost/asio/ssl/context.hpp>
#include <filesystem>

#include "base/mapped_file.h"
#include "net/server_url.h"

namespace gale {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;

// Where systems keep them all that are not laid out like Debian, whose OpenSSL this is.
constexpr const char* kSystemFiles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/cert.pem"};

std::string reason_of(unsigned long error) {
  const char* reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "the server closed the connection";
}

bool is_address(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// SSL_CERT_FILE and SSL_CERT_DIR count, as OpenSSL reads them itself.
void trust_the_system(SSL_CTX* context) {
  SSL_CTX_set_default_verify_paths(context);
  std::error_code trouble;
  if (std::filesystem::exists(X509_get_default_cert_file(), trouble) ||
      std::filesystem::exists(X509_get_default_cert_dir(), trouble)) {
    return;
  }
  for (const char* file : kSystemFiles) {
    if (std::filesystem::exists(file, trouble)) SSL_CTX_load_verify_locations(context, file, nullptr);
  }
}

}   // namespace

Result<std::shared_ptr<boost::asio::ssl::context>> load_client_tls(const ClientTlsConfig& config) {
  auto context = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_client);
  SSL_CTX* native = context->native_handle();
  ERR_clear_error();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_mode(native, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_verify(native, config.is_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (config.ca_file.empty()) {
    trust_the_system(native);
    return context;
  }
  GALE_ASSIGN(const std::string text, read_file(config.ca_file, kMaxFileBytes));   // "not there" in our words
  if (SSL_CTX_load_verify_locations(native, config.ca_file.c_str(), nullptr) != 1) {
    const std::string reason = reason_of(ERR_peek_last_error());
    ERR_clear_error();
    return fail_param(ErrorCode::kInvalidArgument, "ca-file",
                      "--ca-file {}: no certificate in PEM form can be read: {}", config.ca_file, reason);
  }
  return context;
}

Status expect_server(SSL* session, const ServerUrl& server) {
  X509_VERIFY_PARAM* expected = SSL_get0_param(session);
  const bool is_set = is_address(server.host) ? X509_VERIFY_PARAM_set1_ip_asc(expected, server.host.c_str()) == 1
                                              : SSL_set1_host(session, server.host.c_str()) == 1 &&
                                                    SSL_set_tlsext_host_name(session, server.host.c_str()) == 1;
  if (is_set) return {};
  return fail(ErrorCode::kInvalidArgument, "'{}' is no name that a certificate can have", server.host);
}

std::string handshake_failure(SSL* session, unsigned long error) {
  const long verdict = SSL_get_verify_result(session);
  const bool is_distrusted = ERR_GET_LIB(error) == ERR_LIB_SSL &&
                             ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK;
  if (is_distrusted) {
    return fmt::format(
        "its certificate is not trusted: {}. Name the one that signed it with --ca-file FILE, or trust anybody with "
        "--insecure",
        X509_verify_cert_error_string(verdict));
  }
  const bool is_plain = ERR_GET_LIB(error) == ERR_LIB_SSL && (ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER ||
                                                              ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST);
  if (is_plain) return "it does not speak TLS: is it http:// instead of https://?";
  return fmt::format("the TLS handshake failed: {}", reason_of(error));
}

}   // namespace gale
