#pragma once

#include <vector>

#include "config/option.h"
#include "net/client_tls.h"

namespace gale {

// The options of whoever speaks to a server over https; the path leads to its ClientTlsConfig.
template <auto... Path>
[[nodiscard]] std::vector<Option> client_tls_options(CommandSet commands) {
  return {
      option<Path..., &ClientTlsConfig::ca_file>(
          {.flag = "--ca-file",
           .placeholder = "FILE",
           .help = "For https: certificates in PEM form of those who may sign the server's; none: whom the system "
                   "trusts.",
           .group = OptionGroup::kClient,
           .commands = commands}),
      option<Path..., &ClientTlsConfig::is_insecure>(
          {.flag = "--insecure",
           .help = "For https: believe any certificate. Whoever sits between can read and change everything.",
           .group = OptionGroup::kClient,
           .commands = commands}),
  };
}

}   // namespace gale
