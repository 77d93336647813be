#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/command_line.h"

namespace gale {

// What one source says of each option, in the order it said so.
using Values = std::map<const Option*, std::vector<std::string>>;

struct ParsedArguments {
  Values values;
  std::vector<std::string> notes;
  std::optional<std::string> help;     // set by --help: "" for all, else a group or flag
  std::optional<std::string> config_file;
};

[[nodiscard]] Result<ParsedArguments> parse_arguments(Command command, std::span<const std::string> arguments);

// Variables called GALE_<FLAG>, and those the rows name. Unknown ones of ours or vLLM's, and those of
// OpenTelemetry, get a note.
[[nodiscard]] Values parse_environment(Command command, const Environment& environment,
                                       std::vector<std::string>& notes);

// A variable that people set for other servers and that changes nothing here, and why. "NAME_*": all that begin so.
struct KnownVariable {
  std::string_view name;
  std::string_view reason;
};
[[nodiscard]] std::span<const KnownVariable> known_variables();

// HTTP_PROXY, HTTPS_PROXY and NO_PROXY; written small they count before that, as for other tools.
[[nodiscard]] ProxyConfig proxy_of(const Environment& environment);

// Where huggingface_hub keeps its things unless told otherwise.
[[nodiscard]] std::string default_hub_home(const Environment& environment);

// A TOML file whose keys are the flags without dashes in front; "_" may stand for "-". Keys that belong to another
// command are fine (one file can serve all), keys that belong to none are an error.
[[nodiscard]] Result<Values> parse_config_file(Command command, const std::string& path);

// "did you mean --port?" or nothing; with a leading blank.
[[nodiscard]] std::string suggestion(Command command, std::string_view flag);

}  // namespace gale
