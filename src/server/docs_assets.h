#pragma once

#include <span>

#include "net/asset.h"

namespace gale {

// The files of /docs: Swagger UI and our page around it, kept packed.
[[nodiscard]] std::span<const Asset> docs_assets();

}  // namespace gale
