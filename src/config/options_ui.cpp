#include "config/client_tls_options.h"
#include "config/config.h"
#include "config/options.h"

namespace gale {

namespace {

std::vector<Option> service_options() {
  using enum OptionGroup;
  using S = ServiceConfig;
  constexpr CommandSet kInstalled = in(Command::kService);
  return {
      option<&Config::service, &S::action>({.flag = "--action",
                                            .placeholder = "ACTION",
                                            .help = "install, status, logs, upgrade or uninstall.",
                                            .group = kRuntime,
                                            .commands = kInstalled,
                                            .rules = one_of({"install", "status", "logs", "upgrade", "uninstall"}),
                                            .is_positional = true}),
      option<&Config::service, &S::model>({.flag = "--model",
                                           .placeholder = "DIR",
                                           .help = "The model folder that is served.",
                                           .group = kModel,
                                           .commands = kInstalled}),
      option<&Config::service, &S::manager>(
          {.flag = "--manager",
           .placeholder = "NAME",
           .help = "Who starts it and starts it again; auto: systemd where it runs, else supervisor.",
           .group = kRuntime,
           .commands = kInstalled,
           .rules = one_of({"auto", "systemd", "supervisor"})}),
      option<&Config::service, &S::host>({.flag = "--host",
                                          .placeholder = "ADDRESS",
                                          .help = "The address of the API.",
                                          .group = kHttp,
                                          .commands = kInstalled}),
      option<&Config::service, &S::port>({.flag = "--port",
                                          .placeholder = "N",
                                          .help = "The port of the API.",
                                          .group = kHttp,
                                          .commands = kInstalled,
                                          .rules = range(1, 65535)}),
      option<&Config::service, &S::ui_host>({.flag = "--ui-host",
                                             .placeholder = "ADDRESS",
                                             .help = "The address of the page.",
                                             .group = kHttp,
                                             .commands = kInstalled}),
      option<&Config::service, &S::ui_port>({.flag = "--ui-port",
                                             .placeholder = "N",
                                             .help = "The port of the page.",
                                             .group = kHttp,
                                             .commands = kInstalled,
                                             .rules = range(1, 65535)}),
      option<&Config::service, &S::password>(
          {.flag = "--password",
           .placeholder = "TEXT",
           .help = "The page's password; none: one is made where others reach the page.",
           .group = kHttp,
           .commands = kInstalled}),
      option<&Config::service, &S::folder>({.flag = "--folder",
                                            .placeholder = "DIR",
                                            .help = "Where supervisor keeps its files and logs.",
                                            .group = kRuntime,
                                            .commands = kInstalled}),
      option<&Config::service, &S::program>({.flag = "--program",
                                             .placeholder = "FILE",
                                             .help = "The gale that is run; none: this one.",
                                             .group = kRuntime,
                                             .commands = kInstalled}),
      option<&Config::service, &S::is_dry_run>({.flag = "--dry-run",
                                                .help = "Show what would be written or removed, and do nothing.",
                                                .group = kRuntime,
                                                .commands = kInstalled}),
  };
}

}  // namespace

std::vector<Option> ui_options() {
  using enum OptionGroup;
  using U = UiConfig;
  using H = HttpServerConfig;
  constexpr CommandSet kPage = in(Command::kUi);
  std::vector<Option> out = {
      option<&Config::ui, &U::api_url>({.flag = "--api",
                                        .placeholder = "URL",
                                        .help = "The API that the page talks to, without /v1.",
                                        .group = kClient,
                                        .commands = kPage}),
      option<&Config::ui, &U::api_key>({.flag = "--api-key",
                                        .placeholder = "KEY",
                                        .help = "Sent to the API as bearer token; browsers never see it.",
                                        .group = kClient,
                                        .commands = kPage,
                                        .environment = "VLLM_API_KEY"}),
      option<&Config::ui, &U::http, &H::host>(
          {.flag = "--host",
           .placeholder = "ADDRESS",
           .help = "The address to listen on. On one that others reach the page asks for a password.",
           .group = kHttp,
           .commands = kPage}),
      option<&Config::ui, &U::http, &H::port>({.flag = "--port",
                                               .placeholder = "N",
                                               .help = "0: any free one.",
                                               .group = kHttp,
                                               .commands = kPage,
                                               .rules = range(0, 65535)}),
      option<&Config::ui, &U::password>({.flag = "--password",
                                         .placeholder = "TEXT",
                                         .help = "What people type to get in (better given as GALE_PASSWORD, which "
                                                 "other users of this machine cannot read). None: "
                                                 "on an address that others reach one is made and logged.",
                                         .group = kHttp,
                                         .commands = kPage}),
      option<&Config::ui, &U::is_protected>(
          {.flag = "--protected-mode",
           .help = "Ask for a password on an address that others reach, even if none was set.",
           .group = kHttp,
           .commands = kPage}),
      option<&Config::ui, &U::allowed_hosts>(
          {.flag = "--allowed-host",
           .placeholder = "NAME",
           .help = "Names under which browsers may reach the page, besides localhost and addresses; * allows all.",
           .group = kHttp,
           .commands = kPage}),
  };
  for (Option& option : client_tls_options<&Config::ui, &U::api_tls>(kPage)) out.push_back(std::move(option));
  for (Option& option : service_options()) out.push_back(std::move(option));
  return out;
}

}  // namespace gale
