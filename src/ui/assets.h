#pragma once

#include <span>
#include <string_view>

#include "net/http.h"

namespace gale {

// A file of the page, embedded in the program. Made by cmake/embed_assets.py.
struct Asset {
  std::string_view path;               // "/assets/DIGEST/js/main.js"; "/": the page itself
  std::string_view content_type;
  std::string_view digest;             // of its bytes
  std::string_view bytes;
  std::string_view gzip;               // empty where packing gains nothing
};
[[nodiscard]] std::span<const Asset> all_assets();
[[nodiscard]] std::string_view assets_version();   // changes whenever a file does; part of every path but "/"

[[nodiscard]] const Asset* find_asset(std::string_view path);

// The answer to a GET for it: packed if the browser takes that, 304 if it has it. Files never change under their path
// and may be kept for ever; the page itself is asked for each time.
[[nodiscard]] HttpResponse asset_response(const Asset& asset, const RequestHead& head);

}  // namespace gale
