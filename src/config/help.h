#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "config/option.h"

namespace gale {

struct CommandInfo {
  std::string_view name;               // "serve", "bench serve"
  std::string_view arguments;          // "MODEL [options]"
  std::string_view summary;
  Command command;
};
[[nodiscard]] std::span<const CommandInfo> commands();

// gale --help.
[[nodiscard]] std::string overview();

// gale COMMAND --help[=TOPIC]: every option, those of a group, or those whose flag holds the topic.
[[nodiscard]] Result<std::string> command_help(Command command, std::string_view topic);

// docs/options.md.
[[nodiscard]] std::string options_page();

}  // namespace gale
