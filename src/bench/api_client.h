#pragma once

#include <chrono>
#include <string>

#include "net/http_client.h"

namespace gale {

// Waits until /health answers 200. kUnavailable with the last trouble after `timeout`.
[[nodiscard]] Status wait_until_healthy(const ServerUrl& server, std::chrono::seconds timeout);

// The first name that /v1/models lists. `server.prefix` is "/v1".
[[nodiscard]] Result<std::string> first_model(HttpClient& client, const std::string& api_key);

// What an error body says, or its beginning where it is no JSON of ours.
[[nodiscard]] std::string error_text(const ClientResponse& response);

}   // namespace gale
