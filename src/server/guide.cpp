#include "server/guide.h"

#include <fmt/format.h>

#include "server/endpoints.h"

namespace gale {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace

const GuideFile* find_guide_file(std::string_view path) {
  for (const GuideFile& file : all_guide_files()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

void Endpoints::guide(Call& call) {
  const RequestHead& head = call.request().head;
  const GuideFile* file = find_guide_file(head.path);
  if (file == nullptr) {
    return reply_error(call, {ErrorCode::kNotFound, fmt::format("the guide has no such page: see {}", kGuidePath), {}});
  }
  const std::string tag = fmt::format("\"{}\"", file->digest);
  HttpFields fields = {{"ETag", tag},
                       {"Cache-Control", "no-cache"},
                       {"Content-Security-Policy", std::string(kPolicy)},
                       {"X-Content-Type-Options", "nosniff"},
                       {"Referrer-Policy", "no-referrer"}};
  const bool has_it = head.field("if-none-match").value_or("") == tag;
  call.reply(has_it ? 304 : 200, has_it ? "" : std::string(file->bytes), file->content_type, std::move(fields));
}

}  // namespace gale
