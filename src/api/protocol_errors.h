#pragma once

#include <string>
#include <string_view>

#include "api/errors.h"

namespace gale {

// The error envelope for what HTTP itself says no to (404 of a route, 405, 408, 431, …), where no field or value is at
// fault.
[[nodiscard]] std::string protocol_error_body(int status, std::string_view message,
                                              ErrorDialect dialect = ErrorDialect::kOpenAi);

}  // namespace gale
