#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hub/hub_config.h"
#include "net/http_client.h"

namespace gale {

// A model at a revision.
struct HubListing {
  std::string commit;
  std::vector<std::string> files;   // as the Hub names them: not to be trusted
};

// A file at a commit.
struct HubFile {
  std::string etag;   // names its blob: the SHA-256 of large ones, git's SHA-1 of others
  uint64_t size = 0;
  std::string url;   // where its bytes are; may be good for a while only
};

// Speaks to the Hub and to the stores that it points to; these never see the token. For one thread.
// Errors: kNotFound (the model, revision, or access to it), kUnavailable and kDeadline (trying again may help).
class HubClient {
 public:
  HubClient(const HubConfig& config, std::string name);

  [[nodiscard]] Result<HubListing> list();
  [[nodiscard]] Result<HubFile> look_up(const std::string& commit, const std::string& file);
  // Bytes from `offset` on; `begin` is told before the first which one that will be, 0 where the store knows no parts.
  [[nodiscard]] Status read(const HubFile& file, uint64_t offset, const std::function<Status(uint64_t)>& begin,
                            const HttpClient::OnPiece& on_piece);

 private:
  struct Place {
    std::string origin;   // "https://host:port"
    std::string target;   // "/path?query"
  };
  struct Exchange {
    ClientResponse response;
    std::string url;   // that answered
  };
  [[nodiscard]] static Result<Place> place_of(const std::string& url);
  // Follows redirects: all, or only those within a host.
  [[nodiscard]] Result<Exchange> ask(ClientRequest request, std::string url, bool follows_all,
                                     const HttpClient::OnPiece& on_piece);
  [[nodiscard]] Result<HttpClient*> client_of(const std::string& origin);
  [[nodiscard]] tl::unexpected<Error> refusal(const ClientResponse& response, const std::string& what) const;

  const HubConfig& config_;
  const std::string name_;
  std::string home_origin_;   // who may see the token
  std::map<std::string, HttpClient> clients_;
};

}   // namespace gale
