#include "ui/assets.h"

#include <fmt/format.h>

namespace gale {

const Asset* find_asset(std::string_view path) {
  for (const Asset& asset : all_assets()) {
    if (asset.path == path) return &asset;
  }
  return nullptr;
}

HttpResponse asset_response(const Asset& asset, const RequestHead& head) {
  const bool is_page = asset.path == "/";
  const std::string tag = fmt::format("\"{}\"", asset.digest);
  HttpResponse out{.status = 200,
                   .fields = {{"Content-Type", std::string(asset.content_type)},
                              {"ETag", tag},
                              {"Vary", "Accept-Encoding"},
                              {"Cache-Control", is_page ? "no-cache" : "public, max-age=31536000, immutable"}},
                   .body = ""};
  if (head.field("if-none-match").value_or("") == tag) {
    out.status = 304;
    return out;
  }
  const bool takes_gzip = head.field("accept-encoding").value_or("").find("gzip") != std::string_view::npos;
  if (takes_gzip && !asset.gzip.empty()) {
    out.fields.emplace_back("Content-Encoding", "gzip");
    out.body = asset.gzip;
  } else {
    out.body = asset.bytes;
  }
  return out;
}

}  // namespace gale
