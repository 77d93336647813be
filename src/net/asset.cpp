#include "net/asset.h"

#include <fmt/format.h>

namespace gale {

const Asset* find_asset(std::span<const Asset> assets, std::string_view path) {
  for (const Asset& asset : assets) {
    if (asset.path == path) return &asset;
  }
  return nullptr;
}

HttpResponse asset_response(const Asset& asset, const RequestHead& head) {
  const bool is_fixed = asset.path.starts_with("/assets/");
  const std::string tag = fmt::format("\"{}\"", asset.digest);
  HttpResponse out{.status = 200,
                   .fields = {{"Content-Type", std::string(asset.content_type)},
                              {"ETag", tag},
                              {"Vary", "Accept-Encoding"},
                              {"Cache-Control", is_fixed ? "public, max-age=31536000, immutable" : "no-cache"}},
                   .body = ""};
  if (head.field("if-none-match").value_or("") == tag) {
    out.status = 304;
    return out;
  }
  const bool takes_gzip = head.field("accept-encoding").value_or("").find("gzip") != std::string_view::npos;
  if (asset.bytes.empty() || (takes_gzip && !asset.gzip.empty())) {
    out.fields.emplace_back("Content-Encoding", "gzip");
    out.body = asset.gzip;
  } else {
    out.body = asset.bytes;
  }
  return out;
}

}  // namespace gale
