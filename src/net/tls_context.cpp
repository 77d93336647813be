#include "net/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <boost/asio/ssl/context.hpp>
#include <string_view>

#include "base/mapped_file.h"

namespace gale {
namespace {

namespace asio = boost::asio;

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr std::string_view kHttp11("\x08http/1.1", 9);  // as ALPN writes it

// The reason that OpenSSL gave last, in its words.
std::string last_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason != nullptr ? reason : "it says no reason";
}

int refuse_passphrase(char*, int, int, void*) { return -1; }

// Nothing chosen means HTTP/1.1, too: clients that offer h2 alone find out by the first answer.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* offered,
                    unsigned int offered_length, void*) {
  unsigned char* chosen = nullptr;
  const auto* ours = reinterpret_cast<const unsigned char*>(kHttp11.data());
  const int found = SSL_select_next_proto(&chosen, out_length, ours, kHttp11.size(), offered, offered_length);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

Status use_certificate(SSL_CTX* context, const TlsConfig& config) {
  GALE_ASSIGN(const std::string text, read_file(config.certificate_file, kMaxFileBytes));  // "not there" in our words
  if (SSL_CTX_use_certificate_chain_file(context, config.certificate_file.c_str()) == 1) return {};
  return fail_param(ErrorCode::kInvalidArgument, "ssl-certfile",
                    "--ssl-certfile {}: no certificate in PEM form can be read: {}", config.certificate_file,
                    last_reason());
}

Status use_key(SSL_CTX* context, const TlsConfig& config) {
  GALE_ASSIGN(const std::string text, read_file(config.key_file, kMaxFileBytes));
  SSL_CTX_set_default_passwd_cb(context, refuse_passphrase);
  if (SSL_CTX_use_PrivateKey_file(context, config.key_file.c_str(), SSL_FILETYPE_PEM) == 1 &&
      SSL_CTX_check_private_key(context) == 1) {
    return {};
  }
  if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
      ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH) {
    ERR_clear_error();
    return fail_param(ErrorCode::kInvalidArgument, "ssl-keyfile",
                      "--ssl-keyfile {} is not the key of the certificate in {}", config.key_file,
                      config.certificate_file);
  }
  if (text.find("ENCRYPTED") != std::string::npos) {
    ERR_clear_error();
    return fail_param(
        ErrorCode::kInvalidArgument, "ssl-keyfile",
        "--ssl-keyfile {}: the key has a passphrase; store it without one (openssl pkey), readable by gale alone",
        config.key_file);
  }
  return fail_param(ErrorCode::kInvalidArgument, "ssl-keyfile", "--ssl-keyfile {}: no key in PEM form can be read: {}",
                    config.key_file, last_reason());
}

}  // namespace

Result<std::shared_ptr<asio::ssl::context>> load_tls_context(const TlsConfig& config) {
  if (config.certificate_file.empty() || config.key_file.empty()) {
    return fail_param(ErrorCode::kInvalidArgument, config.key_file.empty() ? "ssl-keyfile" : "ssl-certfile",
                      "TLS needs both --ssl-certfile and --ssl-keyfile");
  }
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  ERR_clear_error();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);  // an idle connection keeps none
  SSL_CTX_set_alpn_select_cb(native, choose_protocol, nullptr);
  if (!config.ciphers.empty() && SSL_CTX_set_cipher_list(native, config.ciphers.c_str()) != 1) {
    return fail_param(ErrorCode::kInvalidArgument, "ssl-ciphers", "--ssl-ciphers {}: {}", config.ciphers,
                      last_reason());
  }
  GALE_TRY(use_certificate(native, config));
  GALE_TRY(use_key(native, config));
  return context;
}

bool is_plain_http(unsigned long error) {
  return ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST;
}

}  // namespace gale
