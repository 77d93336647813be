#include "api/protocol_errors.h"

#include "base/json.h"

namespace gale {
namespace {

std::string_view code_of(int status) {
  switch (status) {
    case 404: return "route_not_found";
    case 405: return "method_not_allowed";
    case 408: return "request_timeout";
    case 413: return "body_too_large";
    case 414: return "uri_too_long";
    case 426: return "upgrade_required";
    case 431: return "headers_too_large";
    default: return "invalid_http";
  }
}

}  // namespace

std::string protocol_error_body(int status, std::string_view message, ErrorDialect dialect) {
  const std::string_view type =
      status == 404 ? "not_found_error" : "invalid_request_error";  // both dialects call it so
  if (dialect == ErrorDialect::kAnthropic)
    return dump_json(
        Json{{"type", "error"}, {"error", {{"type", type}, {"message", message}}}, {"request_id", nullptr}});
  const Json detail = {{"message", message}, {"type", type}, {"param", nullptr}, {"code", code_of(status)}};
  return dump_json(Json{{"error", detail}});
}

}  // namespace gale
