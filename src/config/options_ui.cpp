#include "config/config.h"
#include "config/options.h"

namespace gale {

std::vector<Option> ui_options() {
  using enum OptionGroup;
  using U = UiConfig;
  using H = HttpServerConfig;
  constexpr CommandSet kPage = in(Command::kUi);
  return {
      option<&Config::ui, &U::api_url>({.flag = "--api", .placeholder = "URL", .help = "The API that the page talks to, without /v1.",
          .group = kClient, .commands = kPage}),
      option<&Config::ui, &U::api_key>({.flag = "--api-key", .placeholder = "KEY",
          .help = "Sent to the API as bearer token; browsers never see it.",
          .group = kClient, .commands = kPage, .environment = "VLLM_API_KEY"}),
      option<&Config::ui, &U::http, &H::host>({.flag = "--host", .placeholder = "ADDRESS",
          .help = "The address to listen on. On one that others reach the page asks for a password.",
          .group = kHttp, .commands = kPage}),
      option<&Config::ui, &U::http, &H::port>({.flag = "--port", .placeholder = "N", .help = "0: any free one.",
          .group = kHttp, .commands = kPage, .rules = range(0, 65535)}),
      option<&Config::ui, &U::password>({.flag = "--password", .placeholder = "TEXT",
          .help = "What people type to get in (better given as GALE_PASSWORD, which other users of this machine cannot read). None: "
                  "on an address that others reach one is made and logged.",
          .group = kHttp, .commands = kPage}),
      option<&Config::ui, &U::is_protected>({.flag = "--protected-mode",
          .help = "Ask for a password on an address that others reach, even if none was set.", .group = kHttp, .commands = kPage}),
      option<&Config::ui, &U::allowed_hosts>({.flag = "--allowed-host", .placeholder = "NAME",
          .help = "Names under which browsers may reach the page, besides localhost and addresses; * allows all.",
          .group = kHttp, .commands = kPage}),
  };
}

}  // namespace gale
