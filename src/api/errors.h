#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gale {

// Whose clients read the error: OpenAI's envelope is the general one, Anthropic's that of /v1/messages.
enum class ErrorDialect : uint8_t { kOpenAi, kAnthropic };
[[nodiscard]] ErrorDialect error_dialect_of(std::string_view path);

// How an error looks on the wire. Every error a client can get goes through here.
struct WireError {
  int status;                  // HTTP
  std::string_view type;       // "invalid_request_error", …
  std::string_view code;       // "context_length_exceeded", …; empty in Anthropic's form, which has none
};
[[nodiscard]] WireError wire_error(const Error& error, ErrorDialect dialect = ErrorDialect::kOpenAi);

// OpenAI: {"error":{"message","type","param","code"}}, all four keys always; param is null if no field is at fault.
// Anthropic: {"type":"error","error":{"type","message"},"request_id"}.
// Internal errors show no detail: the log has it under the request's id.
[[nodiscard]] std::string error_body(const Error& error, ErrorDialect dialect = ErrorDialect::kOpenAi,
                                     std::string_view request_id = {});

}  // namespace gale
