#include "api/errors.h"

#include "base/json.h"

namespace gale {

namespace {

// The types that Anthropic's SDKs turn into exceptions; by status, where a status has one.
std::string_view anthropic_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 504: return "timeout_error";
    case 529: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

WireError openai_error(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return {400, "invalid_request_error", error.param.empty() ? "invalid_json" : "invalid_value"};
    case ErrorCode::kContextLength: return {400, "invalid_request_error", "context_length_exceeded"};
    case ErrorCode::kUnauthorized: return {401, "authentication_error", "invalid_api_key"};
    case ErrorCode::kForbidden: return {403, "permission_error", "forbidden"};
    case ErrorCode::kNotFound:
      return {404, "not_found_error", error.param == "model" ? "model_not_found" : "not_found"};
    case ErrorCode::kTooLarge: return {413, "invalid_request_error", "body_too_large"};
    case ErrorCode::kUnsupportedMedia: return {415, "invalid_request_error", "unsupported_media_type"};
    case ErrorCode::kOverloaded: return {429, "rate_limit_error", "overloaded"};
    case ErrorCode::kUnimplemented:
      // A part of a request that this build cannot serve is the request's fault; a whole route is ours.
      return error.param.empty() ? WireError{501, "not_supported_error", "not_supported"}
                                 : WireError{400, "invalid_request_error", "not_supported"};
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kUnavailable: return {503, "service_unavailable_error", "unavailable"};
    case ErrorCode::kDeadline: return {504, "timeout_error", "deadline_exceeded"};
    case ErrorCode::kCancelled: return {499, "invalid_request_error", "cancelled"};
    case ErrorCode::kCorrupt:
    case ErrorCode::kBusy:
    case ErrorCode::kInternal: return {500, "server_error", "internal_error"};
  }
  return {500, "server_error", "internal_error"};
}

}  // namespace

ErrorDialect error_dialect_of(std::string_view path) {
  constexpr std::string_view kMessages = "/v1/messages";
  const bool is_messages = path == kMessages || (path.starts_with(kMessages) && path[kMessages.size()] == '/');
  return is_messages ? ErrorDialect::kAnthropic : ErrorDialect::kOpenAi;
}

WireError wire_error(const Error& error, ErrorDialect dialect) {
  WireError wire = openai_error(error);
  if (dialect == ErrorDialect::kOpenAi) return wire;
  if (error.code == ErrorCode::kOverloaded) wire.status = 529;   // what Anthropic's clients know as "come back later"
  return {wire.status, anthropic_type(wire.status), ""};
}

std::string error_body(const Error& error, ErrorDialect dialect, std::string_view request_id) {
  const WireError wire = wire_error(error, dialect);
  // What went wrong inside is for the log; an error that blames something the client named was written for the client.
  const bool is_internal = wire.status == 500 && error.param.empty();
  Json detail;
  if (dialect == ErrorDialect::kAnthropic) detail["type"] = wire.type;
  detail["message"] = is_internal
                          ? "the server failed to answer this request; its log has the cause under the request id"
                          : error.message;
  if (dialect == ErrorDialect::kAnthropic)
    return dump_json(Json{{"type", "error"}, {"error", detail}, {"request_id", request_id}});
  detail["type"] = wire.type;
  detail["param"] = error.param.empty() ? Json(nullptr) : Json(error.param);
  detail["code"] = wire.code;
  return dump_json(Json{{"error", detail}});
}

}  // namespace gale
