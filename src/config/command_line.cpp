#include "config/command_line.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/log.h"
#include "config/help.h"
#include "config/nearest.h"
#include "config/sources.h"

namespace gale {
namespace {

Result<Command> take_command(std::span<const std::string>& arguments) {
  const std::string word = arguments[0];
  arguments = arguments.subspan(1);
  if (word == "bench") {
    const std::string benchmark = arguments.empty() ? "" : arguments[0];
    for (const CommandInfo& info : commands()) {
      if (info.name != "bench " + benchmark) continue;
      arguments = arguments.subspan(1);
      return info.command;
    }
    return fail(ErrorCode::kInvalidArgument, "gale bench knows the benchmarks serve, throughput and latency");
  }
  std::vector<std::string> names;
  for (const CommandInfo& info : commands()) {
    if (word == info.name) return info.command;
    names.emplace_back(info.name);
  }
  const std::optional<std::string> nearest = nearest_word(word, names);
  return fail(ErrorCode::kInvalidArgument, "unknown command '{}'{}", word,
              nearest ? fmt::format("; did you mean gale {}?", *nearest) : "; gale --help lists what there is");
}

Status apply(const Values& values, std::string_view source, Config& config) {
  for (const auto& [option, texts] : values) {
    const Status set = option->set(config, texts);
    if (!set) {
      const std::string_view name = option->row.is_positional ? option->row.placeholder : option->row.flag;
      return fail_param(set.error().code, std::string(option->row.flag), "{}{}: {}", source, name, set.error().message);
    }
  }
  return {};
}

Status require_positional(Command command, const Values& given, const Values& more) {
  for (const Option& option : all_options()) {
    const bool is_missing = option.row.is_positional && (option.row.commands & in(command)) != 0 &&
                            !given.contains(&option) && !more.contains(&option);
    if (!is_missing || command == Command::kDoctor) continue;
    for (const auto& [list, values] : given) {
      if (list->takes_many && values.size() > 1) {
        return fail(ErrorCode::kInvalidArgument, "{} is missing; {} took '{}': put {} before it",
                    option.row.placeholder, list->row.flag, values.back(), option.row.placeholder);
      }
    }
    return fail(ErrorCode::kInvalidArgument, "{} is missing: {}", option.row.placeholder, option.row.help);
  }
  return {};
}

Result<Invocation> read_sources(std::span<const std::string> arguments, const Environment& environment) {
  Invocation out;
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    out.text = overview();
    return out;
  }
  if (arguments[0] == "--version" || arguments[0] == "-V") {
    out.text = fmt::format("gale {}\n", kVersion);
    return out;
  }
  if (arguments[0] == "--help=markdown") {
    out.text = options_page();
    return out;
  }
  GALE_ASSIGN(out.command, take_command(arguments));
  GALE_ASSIGN(ParsedArguments parsed, parse_arguments(out.command, arguments));
  if (parsed.help) {
    GALE_ASSIGN(out.text, command_help(out.command, *parsed.help));
    return out;
  }
  out.notes = std::move(parsed.notes);
  out.config.config_file = parsed.config_file.value_or("");
  Values from_file;
  if (parsed.config_file) {
    GALE_ASSIGN(from_file, parse_config_file(out.command, *parsed.config_file));
  }
  GALE_TRY(require_positional(out.command, parsed.values, from_file));
  GALE_TRY(apply(from_file, parsed.config_file.value_or("") + ": ", out.config));
  GALE_TRY(apply(parse_environment(out.command, environment, out.notes), "environment: ", out.config));
  GALE_TRY(apply(parsed.values, "", out.config));
  out.config.hub.proxy = proxy_of(environment);
  if (out.config.hub.home.empty()) out.config.hub.home = default_hub_home(environment);
  return out;
}

// The one that sets the field, wherever its row stands.
const Option& log_format_option() {
  const Config fresh;
  Config other;
  other.log_format = LogFormat::kJson;
  for (const Option& option : all_options()) {
    if (option.show(fresh) != option.show(other)) return option;
  }
  CHECK(false, "no option sets the form of the log");
}

}  // namespace

Result<Invocation> read_command_line(std::span<const std::string> arguments, const Environment& environment) {
  Result<Invocation> out = read_sources(arguments, environment);
  if (!out) out.error().message = escape_control(out.error().message);   // it quotes what was given
  return out;
}

LogFormat wanted_log_format(std::span<const std::string> arguments, const Environment& environment) {
  Config config;
  const Option& option = log_format_option();
  const auto take = [&](const std::string& value) {
    Config tried;
    if (option.set(tried, std::span(&value, 1))) config.log_format = tried.log_format;
  };
  for (const std::string& entry : environment) {
    constexpr std::string_view kVariable = "GALE_LOG_FORMAT=";
    if (entry.starts_with(kVariable)) take(entry.substr(kVariable.size()));
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    const size_t equals = arguments[i].find('=');
    if (canonical_flag(arguments[i].substr(0, equals)) != option.row.flag) continue;
    if (equals != std::string::npos) take(arguments[i].substr(equals + 1));
    else if (i + 1 < arguments.size()) take(arguments[i + 1]);
  }
  return config.log_format;
}

std::vector<std::string> arguments_for(Command command, const Config& config) {
  const Config fresh;
  std::vector<std::string> positional;
  std::vector<std::string> flags;
  for (const Option& option : all_options()) {
    if ((option.row.commands & in(command)) == 0 || option.row.flag == "--config") continue;
    std::vector<std::string> values = option.show(config);
    if (values == option.show(fresh)) continue;
    if (option.row.is_positional) {
      positional = std::move(values);
      continue;
    }
    for (const std::string& value : values) flags.push_back(fmt::format("{}={}", option.row.flag, value));
  }
  if (!positional.empty() && positional.front().starts_with('-')) flags.emplace_back("--");   // a folder, not a flag
  flags.insert(flags.end(), positional.begin(), positional.end());
  return flags;
}

}  // namespace gale
