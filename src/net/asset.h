#pragma once

#include <span>
#include <string_view>

#include "net/http.h"

namespace gale {

// A file embedded in the program. Made by cmake/embed_assets.py.
struct Asset {
  std::string_view path;               // "/assets/DIGEST/js/main.js"
  std::string_view content_type;
  std::string_view digest;             // of its bytes
  std::string_view bytes;              // empty where it is kept packed only
  std::string_view gzip;               // empty where packing gains nothing
};

// Null: there is no such file.
[[nodiscard]] const Asset* find_asset(std::span<const Asset> assets, std::string_view path);

// The answer to a GET for it: packed if the browser takes that, 304 if it has it. Files below /assets/ never change
// under their path and may be kept for ever; the others are asked for each time.
[[nodiscard]] HttpResponse asset_response(const Asset& asset, const RequestHead& head);

}  // namespace gale
