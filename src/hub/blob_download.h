#pragma once

#include <functional>
#include <string>

#include "hub/download_progress.h"
#include "hub/hub_cache.h"
#include "hub/hub_client.h"

namespace gale {

// Bytes of the blob that are in the cache by now, whole or in part.
[[nodiscard]] uint64_t num_bytes_there(const HubCache& cache, const HubFile& file);

struct BlobWish {
  std::string commit;
  std::string file;
  std::function<bool()> is_cancelled;
};

// Brings one file into the cache and into the commit's snapshot: what came before is kept, what broke off goes on, and
// nothing gets its name before its hash is right. One that holds its lock in another process is waited for.
[[nodiscard]] Status download_blob(HubClient& client, const HubCache& cache, const BlobWish& wish,
                                   DownloadProgress& progress);

}   // namespace gale
