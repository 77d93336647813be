#include "hub/hub_client.h"

#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "hub/hub_cache.h"

namespace gale {
namespace {

constexpr std::chrono::seconds kSilence{30};
constexpr int kMaxRedirects = 5;
constexpr size_t kMaxListingBytes = size_t{64} << 20;
constexpr int kTooManyRequests = 429;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// For one part of a path.
std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_plain =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '~';
    if (is_plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string without_quotes(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

Result<uint64_t> number_in(std::string_view text, std::string_view what) {
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error == std::errc() && end == text.data() + text.size()) return out;
  return fail(ErrorCode::kUnavailable, "the Hub gives no {}", what);
}

}   // namespace

HubClient::HubClient(const HubConfig& config, std::string name) : config_(config), name_(std::move(name)) {
  if (const Result<Place> home = place_of(config.endpoint + "/")) home_origin_ = home->origin;
}

Result<HubClient::Place> HubClient::place_of(const std::string& url) {
  const size_t host = url.find("://");
  const size_t path = host == std::string::npos ? host : url.find('/', host + 3);
  if (path == std::string::npos) return fail(ErrorCode::kUnavailable, "'{}' is no address of a file", url);
  GALE_ASSIGN(const ServerUrl server, parse_server_url(url.substr(0, path)));
  Place out{.origin = fmt::format("{}://{}:{}", server.tls ? "https" : "http", server.host, server.port),
            .target = url.substr(path, url.find('#') - path)};
  const bool is_clean = std::ranges::all_of(out.target, [](unsigned char c) { return c > ' ' && c < 0x7f; });
  if (!is_clean) return fail(ErrorCode::kUnavailable, "an address of the Hub is malformed");
  return out;
}

Result<HttpClient*> HubClient::client_of(const std::string& origin) {
  auto found = clients_.find(origin);
  if (found == clients_.end()) {
    GALE_ASSIGN(ServerUrl server, parse_server_url(origin));
    GALE_ASSIGN(server.proxy, proxy_for(config_.proxy, server));
    found = clients_.try_emplace(origin, std::move(server), kSilence).first;
  }
  return &found->second;
}

Result<HubClient::Exchange> HubClient::ask(ClientRequest request, std::string url, bool follows_all,
                                           const HttpClient::OnPiece& on_piece) {
  for (int i = 0; i <= kMaxRedirects; ++i) {
    GALE_ASSIGN(const Place place, place_of(url));
    GALE_ASSIGN(HttpClient* const client, client_of(place.origin));
    request.target = place.target;
    request.api_key = place.origin == home_origin_ ? config_.token : "";
    GALE_ASSIGN(ClientResponse response, client->stream(request, on_piece));
    std::string next = response.field("location");
    const bool is_within = next.starts_with('/') && !next.starts_with("//");
    if (is_within) next = place.origin + next;
    if (!is_redirect(response.status) || next.empty()) return Exchange{std::move(response), std::move(url)};
    if (place.origin.starts_with("https:") && !next.starts_with("https:"))
      return fail(ErrorCode::kUnavailable, "{} leads from https to an address without it", place.origin);
    // What the Hub says of a file comes with the redirect to its store.
    const bool is_answer = !response.field("x-linked-etag").empty() && !is_within;
    if (!follows_all && is_answer) return Exchange{std::move(response), std::move(next)};
    url = std::move(next);
  }
  return fail(ErrorCode::kUnavailable, "{} leads in circles", config_.endpoint);
}

tl::unexpected<Error> HubClient::refusal(const ClientResponse& response, const std::string& what) const {
  const std::string code = response.field("x-error-code");
  const std::string_view hint = config_.token.empty() ? "set HF_TOKEN to a token of" : "the token is not one of";
  if (code == "GatedRepo" || (response.status == 403 && code.empty())) {
    return fail(ErrorCode::kNotFound, "{} is gated: accept its conditions at {}/{}; {} an account that has access",
                name_, config_.endpoint, name_, hint);
  }
  if (code == "RevisionNotFound")
    return fail(ErrorCode::kNotFound, "{} has no revision '{}' on the Hub", name_, config_.revision);
  if (response.status == 401 || response.status == 403 || code == "RepoNotFound") {
    return fail(ErrorCode::kNotFound,
                "there is neither a folder {} here nor such a model at {} (status {}); if it is private, {} an account "
                "that has access",
                name_, config_.endpoint, response.status, hint);
  }
  if (response.status == 404)
    return fail(ErrorCode::kNotFound, "{} at {}: there is no {}", name_, config_.endpoint, what);
  const bool may_pass = response.status >= 500 || response.status == kTooManyRequests || response.status == 408;
  return fail(may_pass ? ErrorCode::kUnavailable : ErrorCode::kNotFound, "{} answered {} with status {}",
              config_.endpoint, what, response.status);
}

Result<HubListing> HubClient::list() {
  std::string body;
  const std::string url =
      fmt::format("{}/api/models/{}/revision/{}", config_.endpoint, name_, percent_encoded(config_.revision));
  GALE_ASSIGN(const Exchange got, ask({}, url, true, [&](std::string_view piece) {
                body += piece;
                return body.size() <= kMaxListingBytes;
              }));
  if (got.response.status != 200) return refusal(got.response, "such model or revision");
  const Result<Json> json = parse_json(body);
  const bool is_listing = json && json->is_object() && json->contains("sha") && (*json)["sha"].is_string() &&
                          json->contains("siblings") && (*json)["siblings"].is_array();
  if (!is_listing) return fail(ErrorCode::kUnavailable, "{} does not speak as the Hub does", config_.endpoint);
  HubListing out{.commit = (*json)["sha"].get<std::string>(), .files = {}};
  if (!is_commit(out.commit)) return fail(ErrorCode::kUnavailable, "{} gives no commit", config_.endpoint);
  for (const Json& file : (*json)["siblings"]) {
    const bool is_named = file.is_object() && file.contains("rfilename") && file["rfilename"].is_string();
    if (is_named) out.files.push_back(file["rfilename"].get<std::string>());
  }
  return out;
}

Result<HubFile> HubClient::look_up(const std::string& commit, const std::string& file) {
  const std::string url = fmt::format("{}/{}/resolve/{}/{}", config_.endpoint, name_, commit, percent_encoded(file));
  GALE_ASSIGN(const Exchange got, ask({.method = "HEAD", .fields = {{"Accept-Encoding", "identity"}}}, url, false,
                                      [](std::string_view) { return true; }));
  const ClientResponse& response = got.response;
  if (response.status != 200 && !is_redirect(response.status)) return refusal(response, file);
  const std::string linked = response.field("x-linked-etag");
  HubFile out{.etag = without_quotes(linked.empty() ? response.field("etag") : linked), .size = 0, .url = got.url};
  const std::string size = response.field("x-linked-size");
  GALE_ASSIGN(out.size, number_in(size.empty() ? response.field("content-length") : size, "size of " + file));
  if (!is_etag(out.etag)) return fail(ErrorCode::kUnavailable, "the Hub gives no name for the contents of {}", file);
  return out;
}

Status HubClient::read(const HubFile& file, uint64_t offset, const std::function<Status(uint64_t)>& begin,
                       const HttpClient::OnPiece& on_piece) {
  ClientRequest request{.fields = {{"Accept-Encoding", "identity"}}};
  if (offset > 0) request.fields.emplace_back("Range", fmt::format("bytes={}-", offset));
  request.on_head = [&](const ClientResponse& response) -> Status {
    if (response.status == 200) return begin(0);
    const std::string range = response.field("content-range");   // "bytes 5-9/10"
    if (range.starts_with(fmt::format("bytes {}-", offset))) return begin(offset);
    return fail(ErrorCode::kUnavailable, "other bytes came than those that were asked for");
  };
  GALE_ASSIGN(const Exchange got, ask(std::move(request), file.url, true, on_piece));
  if (got.response.status == 200 || got.response.status == 206) return {};
  // A store that refuses has forgotten its own address: a new one may do.
  return fail(ErrorCode::kUnavailable, "the store of {} answered with status {}", name_, got.response.status);
}

}   // namespace gale
