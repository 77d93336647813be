#pragma once

#include <span>
#include <string_view>

#include "net/asset.h"

namespace gale {

// Pages and pictures of the guide: docs/ as web pages. Made by cmake/embed_guide.py.
[[nodiscard]] std::span<const Asset> guide_assets();

inline constexpr std::string_view kGuidePath = "/docs/guide";   // its first page

}  // namespace gale
