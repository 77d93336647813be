#include "server/docs_assets.h"
#include "server/endpoints.h"

namespace gale {
namespace {

// Nothing but our own files runs or is spoken to. Swagger UI writes styles and draws its icons from data: URLs.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

}  // namespace

void Endpoints::reply_asset(Call& call, const Asset& asset, std::string_view content_security_policy) {
  HttpResponse response = asset_response(asset, call.request().head);
  std::erase_if(response.fields, [](const auto& field) { return field.first == "Content-Type"; });   // the call adds it
  for (const auto& [name, value] : {std::pair{"Content-Security-Policy", content_security_policy},
                                    std::pair{"X-Content-Type-Options", std::string_view("nosniff")},
                                    std::pair{"Referrer-Policy", std::string_view("no-referrer")},
                                    std::pair{"X-Frame-Options", std::string_view("DENY")}})
    response.fields.emplace_back(name, std::string(value));
  call.reply(response.status, std::move(response.body), asset.content_type, std::move(response.fields));
}

void Endpoints::docs(Call& call) {
  const Asset* asset = find_asset(docs_assets(), call.request().head.path);
  if (asset == nullptr) return reply_error(call, {ErrorCode::kNotFound, "there is no such file", "file"});
  reply_asset(call, *asset, kContentSecurityPolicy);
}

}  // namespace gale
