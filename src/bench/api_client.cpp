#include "bench/api_client.h"

#include <thread>

#include "base/json.h"

namespace gale {

Status wait_until_healthy(const ServerUrl& server, std::chrono::seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  HttpClient client(server, std::chrono::seconds(5));
  while (true) {
    const Result<ClientResponse> response = client.send({.target = "/health", .from_root = true});
    if (response && response->status == 200) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::kUnavailable, "the server is not ready: {}",
                  response ? error_text(*response) : response.error().message);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Result<std::string> first_model(HttpClient& client, const std::string& api_key) {
  GALE_ASSIGN(const ClientResponse response, client.send({.target = "/models", .api_key = api_key}));
  if (response.status != 200) {
    return fail(ErrorCode::kUnavailable, "asking for the models: status {}: {}", response.status, error_text(response));
  }
  const Result<Json> list = parse_json(response.body);
  const bool has_name = list && list->contains("data") && !(*list)["data"].empty() && (*list)["data"][0].contains("id");
  if (!has_name) return fail(ErrorCode::kUnavailable, "the server lists no models");
  return (*list)["data"][0]["id"].get<std::string>();
}

std::string error_text(const ClientResponse& response) {
  const Result<Json> body = parse_json(response.body);
  if (body && body->is_object() && body->contains("error") && (*body)["error"].is_object()) {
    return (*body)["error"].value("message", "");
  }
  constexpr size_t kShown = 200;
  return response.body.empty() ? fmt::format("status {}", response.status) : response.body.substr(0, kShown);
}

}   // namespace gale
