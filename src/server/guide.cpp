#include "server/guide.h"

#include <fmt/format.h>

#include "server/endpoints.h"

namespace gale {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace

void Endpoints::guide(Call& call) {
  const Asset* asset = find_asset(guide_assets(), call.request().head.path);
  if (asset != nullptr) return reply_asset(call, *asset, kPolicy);
  reply_error(call, {ErrorCode::kNotFound, fmt::format("the guide has no such page: see {}", kGuidePath), {}});
}

}  // namespace gale
