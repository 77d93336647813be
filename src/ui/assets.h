#pragma once

#include <span>
#include <string_view>

#include "net/asset.h"

namespace gale {

// The files of the page; "/": the page itself.
[[nodiscard]] std::span<const Asset> all_assets();
[[nodiscard]] std::string_view assets_version();   // changes whenever a file does; part of every path but "/"

[[nodiscard]] const Asset* find_asset(std::string_view path);

}  // namespace gale
