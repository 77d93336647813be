#include "config/config.h"
#include "config/options.h"

namespace gale {

std::vector<Option> server_options() {
  using enum OptionGroup;
  constexpr CommandSet kBoth = in(Command::kServe, Command::kEngine);
  return {
      option<&Config::log_level>({.flag = "--log-level", .placeholder = "LEVEL", .help = "What is logged to stderr.",
          .group = kLog, .commands = kBoth, .environment = "VLLM_LOGGING_LEVEL",
          .rules = one_of({"debug", "info", "warning", "error"})}),
  };
}

}  // namespace gale
