#pragma once

#include <span>
#include <string_view>

namespace gale {

// Each status and code that a client can get: what it means and what to do. /openapi.json and /docs show it.
struct ErrorDoc {
  int status;
  std::string_view code;
  std::string_view cause;
  std::string_view advice;
  bool has_retry_after = false;
};
[[nodiscard]] std::span<const ErrorDoc> error_docs();

}  // namespace gale
