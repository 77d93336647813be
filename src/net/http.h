#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gale {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

// The first field of that name (compared without regard to case), without blanks around it.
[[nodiscard]] std::optional<std::string_view> find_field(const HttpFields& fields, std::string_view name);

// What is known of a request before its body is read.
struct RequestHead {
  std::string method;            // "GET"
  std::string target;            // as sent
  std::string path;              // percent-decoded, without the query
  std::string query;             // as sent, without "?"
  HttpFields fields;             // names in lower case
  bool is_http10 = false;
  bool keep_alive = true;
  bool has_body = false;
  bool expects_continue = false;
  std::string peer;              // address of the client, without port
  bool peer_is_loopback = false;

  [[nodiscard]] std::optional<std::string_view> field(std::string_view name) const { return find_field(fields, name); }
};

struct HttpRequest {
  RequestHead head;
  std::string body;
};

// Content-Length, Transfer-Encoding, Connection and Date are the server's to add.
struct HttpResponse {
  int status = 200;
  HttpFields fields;
  std::string body;
};

// A request that breaks HTTP: answered with this status, then the connection is closed.
struct HttpError {
  int status = 400;
  std::string message;
};

[[nodiscard]] std::string_view reason_phrase(int status);

// "::1" as "[::1]", as addresses and Host have it; every other host as it is.
[[nodiscard]] std::string bracketed(const std::string& host);

[[nodiscard]] int hex_value(char c);        // -1: no hex digit

// "a%2Fb" -> "a/b"; nothing if a percent sign is not followed by two hex digits, or the result holds NUL or is not
// UTF-8.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);

[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b);
[[nodiscard]] std::string_view trim_blanks(std::string_view text);
[[nodiscard]] bool is_token_char(char c);   // of RFC 9110's `token`

// 127.0.0.0/8, ::1, and the former written as IPv6.
[[nodiscard]] bool is_loopback_address(std::string_view address);

}  // namespace gale
