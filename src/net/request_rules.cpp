#include "net/request_rules.h"

#include <algorithm>

namespace gale {
namespace {

constexpr size_t kMaxMethodBytes = 20;
constexpr size_t kMaxLengthDigits = 18;   // fits int64

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}
bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char); }

std::optional<HttpError> check_request_line(std::string_view line, bool& is_http11) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return HttpError{400, "malformed request line"};
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > kMaxMethodBytes) return HttpError{400, "malformed request method"};
  const bool is_plain = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  const bool is_known_form = target.starts_with('/') || target.starts_with("http://") ||
                             target.starts_with("https://") || (target == "*" && method == "OPTIONS");
  if (!is_known_form || !is_plain) return HttpError{400, "malformed request target"};
  if (version.size() != 8 || !version.starts_with("HTTP/")) return HttpError{400, "malformed HTTP version"};
  if (version != "HTTP/1.1" && version != "HTTP/1.0")
    return HttpError{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  is_http11 = version == "HTTP/1.1";
  return std::nullopt;
}

// What may stand in a Host field: a name or an address, with a port perhaps.
bool is_host(std::string_view value) {
  constexpr std::string_view kForeign = "/?#@\\<>\"";
  return std::all_of(value.begin(), value.end(), [&](char c) {
    return c > 0x20 && c < 0x7F && kForeign.find(c) == std::string_view::npos;
  });
}

// What must hold for all fields together.
struct FramingSeen {
  int num_hosts = 0;
  int num_lengths = 0;
  int num_encodings = 0;
};

std::optional<HttpError> check_field(std::string_view line, FramingSeen& seen) {
  if (line.front() == ' ' || line.front() == '\t') return HttpError{400, "folded header lines are not accepted"};
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return HttpError{400, "malformed header name"};
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim_blanks(line.substr(colon + 1));
  const bool has_control =
      std::any_of(value.begin(), value.end(), [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7F; });
  if (has_control) return HttpError{400, "control character in a header value"};
  if (equal_ignoring_case(name, "host")) {
    ++seen.num_hosts;
    if (!is_host(value)) return HttpError{400, "malformed Host header"};
  } else if (equal_ignoring_case(name, "content-length")) {
    ++seen.num_lengths;
    if (!is_digits(value) || value.size() > kMaxLengthDigits) return HttpError{400, "malformed Content-Length"};
  } else if (equal_ignoring_case(name, "transfer-encoding")) {
    ++seen.num_encodings;
    if (!equal_ignoring_case(value, "chunked")) return HttpError{501, "only `Transfer-Encoding: chunked` is supported"};
  }
  return std::nullopt;
}

std::optional<HttpError> check_framing(const FramingSeen& seen, bool is_http11) {
  if (seen.num_hosts > 1) return HttpError{400, "more than one Host header"};
  if (is_http11 && seen.num_hosts == 0) return HttpError{400, "an HTTP/1.1 request needs a Host header"};
  if (seen.num_lengths > 1) return HttpError{400, "more than one Content-Length header"};
  if (seen.num_encodings > 1) return HttpError{400, "more than one Transfer-Encoding header"};
  if (seen.num_encodings > 0 && seen.num_lengths > 0) {
    return HttpError{400, "both Content-Length and Transfer-Encoding are given"};
  }
  if (seen.num_encodings > 0 && !is_http11) return HttpError{400, "HTTP/1.0 has no Transfer-Encoding"};
  return std::nullopt;
}

}  // namespace

std::optional<HttpError> find_rule_break(std::string_view head, const RequestLimits& limits) {
  if (head.size() > limits.max_head_bytes) return HttpError{431, "the request's header fields are too large"};
  bool is_http11 = true;
  FramingSeen seen;
  size_t num_lines = 0;
  while (!head.empty()) {
    const size_t end = head.find_first_of("\r\n");
    const bool is_proper = end != std::string_view::npos && head.substr(end, 2) == "\r\n";
    if (!is_proper) return HttpError{400, "a header line does not end in CRLF"};
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (line.find('\0') != std::string_view::npos) return HttpError{400, "NUL in the request's head"};
    if (line.empty()) break;
    std::optional<HttpError> broken;
    if (num_lines == 0) {
      if (line.size() > limits.max_line_bytes) return HttpError{414, "the request line is too long"};
      broken = check_request_line(line, is_http11);
    } else {
      if (num_lines > limits.max_fields) return HttpError{431, "the request has too many header fields"};
      broken = check_field(line, seen);
    }
    if (broken) return broken;
    ++num_lines;
  }
  if (num_lines == 0) return HttpError{400, "empty request"};
  return check_framing(seen, is_http11);
}

}  // namespace gale
