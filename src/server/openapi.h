#pragma once

#include <string>

namespace gale {

// The OpenAPI 3.1 description of all routes, made from their table, the fields' and the errors'. `asks_for_key`: as
// configured.
[[nodiscard]] std::string openapi_document(const std::string& version, bool asks_for_key);

}  // namespace gale
