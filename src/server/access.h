#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"

namespace gale {

// The key that a request brings, as `Authorization: Bearer KEY`, `X-Api-Key: KEY`, or for a WebSocket as the protocol
// `gale-key.KEY`; empty if none. It also says whose things are that are kept between requests.
[[nodiscard]] std::string owner_of(const RequestHead& head);

// 32 random hex digits.
[[nodiscard]] std::string fresh_id();

// Letters, digits and -_.: only, 1 to 128 of them: safe in logs and headers.
[[nodiscard]] bool is_valid_request_id(std::string_view id);

// The client's X-Request-Id if it is valid, else a fresh one.
[[nodiscard]] std::string request_id_of(const RequestHead& head);

// Nothing, JSON, or a +json type. Form types and text/plain are what a page of another origin can send without asking.
[[nodiscard]] bool is_json_content_type(const RequestHead& head);

// The CORS fields of an answer to that request; empty if its origin is not allowed. Never with credentials.
[[nodiscard]] HttpFields cors_fields(const RequestHead& head, const std::vector<std::string>& allowed_origins);

}  // namespace gale
