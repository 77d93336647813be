#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace gale {

// Whom systemd is to run the program as. Empty: a user made for it, since everybody may read what it needs. Else the
// name of the one user who may; kForbidden where that is one user here and another one there. What is not there yet
// stands in nobody's way.
[[nodiscard]] Result<std::string> service_account(const std::string& program, const std::string& model);

}  // namespace gale
