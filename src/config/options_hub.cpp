#include "config/config.h"
#include "config/options.h"

namespace gale {

std::vector<Option> hub_options() {
  constexpr OptionGroup kModel = OptionGroup::kModel;
  constexpr CommandSet kFind = in(Command::kServe, Command::kDownload, Command::kInspect, Command::kDoctor,
                                 Command::kTune);
  constexpr CommandSet kLoad = in(Command::kServe, Command::kDownload);
  using H = HubConfig;
  return {
      option<&Config::hub, &H::revision>({.flag = "--revision",
                                          .placeholder = "NAME",
                                          .help = "Of a model of the Hub: a branch, tag or commit.",
                                          .group = kModel,
                                          .commands = kFind}),
      option<&Config::hub, &H::cache_dir>({.flag = "--download-dir",
                                           .placeholder = "DIR",
                                           .help = "The cache of models of the Hub, which Python tools share; none: "
                                                   "hub in --hf-home.",
                                           .group = kModel,
                                           .commands = kFind,
                                           .environment = "HF_HUB_CACHE"}),
      option<&Config::hub, &H::home>({.flag = "--hf-home",
                                      .placeholder = "DIR",
                                      .help = "The folder of huggingface_hub; none: ~/.cache/huggingface.",
                                      .group = kModel,
                                      .commands = kFind,
                                      .environment = "HF_HOME"}),
      option<&Config::hub, &H::token>({.flag = "--hf-token",
                                       .placeholder = "TOKEN",
                                       .help = "Sent to the Hub, not to the stores it points to (better given as "
                                               "HF_TOKEN, which other users of this machine cannot read). None: the "
                                               "file token in --hf-home.",
                                       .group = kModel,
                                       .commands = kLoad,
                                       .environment = "HF_TOKEN"}),
      option<&Config::hub, &H::endpoint>({.flag = "--hf-endpoint",
                                          .placeholder = "URL",
                                          .help = "The Hub, or a mirror of it.",
                                          .group = kModel,
                                          .commands = kLoad,
                                          .environment = "HF_ENDPOINT"}),
      option<&Config::hub, &H::is_offline>({.flag = "--offline",
                                            .help = "Take models of the Hub from the cache, and ask nobody.",
                                            .group = kModel,
                                            .commands = kLoad,
                                            .environment = "HF_HUB_OFFLINE"}),
  };
}

}   // namespace gale
