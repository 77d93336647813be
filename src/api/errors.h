#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace gale {

// How an error looks on the wire. Every error a client can get goes through here.
struct WireError {
  int status;                  // HTTP
  std::string_view type;       // "invalid_request_error", …
  std::string_view code;       // "context_length_exceeded", …
};
[[nodiscard]] WireError wire_error(const Error& error);

// {"error":{"message","type","param","code"}}, all four keys always; param is null if no field is at fault. Internal errors
// show no detail: the log has it under the request's id.
[[nodiscard]] std::string error_body(const Error& error);

}  // namespace gale
