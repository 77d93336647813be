#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "net/http.h"

namespace gale {

struct RequestLimits {
  size_t max_line_bytes = size_t{8} << 10;      // the request line: 414 beyond
  size_t max_head_bytes = size_t{64} << 10;     // request line and fields: 431 beyond
  size_t max_fields = 100;                      // 431 beyond
  size_t max_body_bytes = size_t{64} << 20;     // 413 beyond
};

// Checks the raw bytes of a request's head, from the request line to the empty line, both included, for what RFC 9112
// forbids and lenient parsers read differently from each other (which is how requests are smuggled past proxies): bare
// CR or LF, NUL and other controls, folded lines, blanks before a colon, repeated or signed Content-Length,
// Transfer-Encoding other than one `chunked`, both framings together, missing or repeated Host. Says nothing about the
// meaning of fields.
[[nodiscard]] std::optional<HttpError> find_rule_break(std::string_view head, const RequestLimits& limits);

}  // namespace gale
