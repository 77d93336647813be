#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "config/option.h"

namespace gale {

using Environment = std::vector<std::string>;   // "NAME=value"
[[nodiscard]] Environment process_environment();

// What the person asked for.
struct Invocation {
  Command command = Command::kServe;
  Config config;
  std::vector<std::string> notes;      // lines to show: flags without a meaning here, variables nobody knows
  std::optional<std::string> text;     // help or version: print it to stdout and exit 0, nothing else
};

// Reads arguments (without the program's name), environment and the file of --config, and nothing else ever does.
// Of two sources that set an option the nearer counts: arguments, then environment, then file, then the default.
// Nothing is dropped in silence: an unknown flag, key or value is kInvalidArgument (exit 2) with the nearest name.
[[nodiscard]] Result<Invocation> read_command_line(std::span<const std::string> arguments,
                                                   const Environment& environment);

// What --log-format or its variable ask for, however wrong the rest is: errors of the command line are told in it.
[[nodiscard]] LogFormat wanted_log_format(std::span<const std::string> arguments, const Environment& environment);

// The arguments that make `gale <command>` see the same config, for starting a process of ours. Only what differs from
// the default is named.
[[nodiscard]] std::vector<std::string> arguments_for(Command command, const Config& config);

}  // namespace gale
