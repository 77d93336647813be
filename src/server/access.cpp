#include "server/access.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

namespace gale {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;

}  // namespace

std::string owner_of(const RequestHead& head) {
  constexpr std::string_view kBearer = "bearer ";
  const std::string_view authorization = head.field("authorization").value_or("");
  if (const auto protocols = head.field("sec-websocket-protocol")) {   // where browsers can put it
    constexpr std::string_view kKeyProtocol = "gale-key.";
    const size_t start = protocols->find(kKeyProtocol);
    if (start != std::string_view::npos) {
      const std::string_view rest = protocols->substr(start + kKeyProtocol.size());
      return std::string(trim_blanks(rest.substr(0, rest.find(','))));
    }
  }
  const bool is_bearer = equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer);
  return std::string(is_bearer ? trim_blanks(authorization.substr(kBearer.size()))
                               : head.field("x-api-key").value_or(""));
}

bool is_valid_request_id(std::string_view id) {
  const auto is_safe = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.' || c == ':';
  };
  return !id.empty() && id.size() <= kMaxRequestIdBytes && std::all_of(id.begin(), id.end(), is_safe);
}

std::string request_id_of(const RequestHead& head) {
  const auto given = head.field("x-request-id");
  return given && is_valid_request_id(*given) ? std::string(*given) : fresh_id();
}

std::string fresh_id() {
  thread_local std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

bool is_json_content_type(const RequestHead& head) {
  const std::string_view given = head.field("content-type").value_or("");
  const std::string_view type = trim_blanks(given.substr(0, given.find(';')));
  constexpr std::string_view kSuffix = "+json";
  const bool has_suffix =
      type.size() > kSuffix.size() && equal_ignoring_case(type.substr(type.size() - kSuffix.size()), kSuffix);
  return type.empty() || equal_ignoring_case(type, "application/json") || has_suffix;
}

HttpFields cors_fields(const RequestHead& head, const std::vector<std::string>& allowed_origins) {
  const auto origin = head.field("origin");
  if (!origin) return {};
  HttpFields fields;
  if (std::find(allowed_origins.begin(), allowed_origins.end(), "*") != allowed_origins.end()) {
    fields = {{"Access-Control-Allow-Origin", "*"}};
  } else if (std::find(allowed_origins.begin(), allowed_origins.end(), *origin) != allowed_origins.end()) {
    fields = {{"Access-Control-Allow-Origin", std::string(*origin)}, {"Vary", "Origin"}};
  } else {
    return {};
  }
  fields.emplace_back("Access-Control-Expose-Headers",
                      "X-Request-Id, X-Stream-Id, Retry-After, X-RateLimit-Limit-Requests, "
                      "X-RateLimit-Remaining-Requests, X-RateLimit-Reset-Requests");
  if (head.method == "OPTIONS") {
    fields.emplace_back("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    fields.emplace_back(
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, X-Api-Key, X-Request-Id, X-Session-ID, X-Stream-Resumable, Last-Event-ID, "
        "Anthropic-Version, Anthropic-Beta, OpenAI-Organization, OpenAI-Project");
    fields.emplace_back("Access-Control-Max-Age", "600");
  }
  return fields;
}

}  // namespace gale
