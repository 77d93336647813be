#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace gale {

// Listening sockets for `num_groups` event loops: group i holds one socket for each address of `host`. Sockets of one
// address share its port (SO_REUSEPORT), yet a port that another process listens on is refused with kBusy.
struct Listeners {
  int port = 0;
  std::vector<std::vector<int>> groups;    // file descriptors, non-blocking, owned by the caller
};
[[nodiscard]] Result<Listeners> open_listeners(const std::string& host, int port, int num_groups, int backlog);

// Sockets that listen already, as another process handed them on, spread over the groups: each is in one, and no group
// is without. Takes them over; kCorrupt if one is no listening TCP socket.
[[nodiscard]] Result<Listeners> adopt_listeners(const std::vector<int>& sockets, int num_groups);

}  // namespace gale
