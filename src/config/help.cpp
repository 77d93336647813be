#include "config/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "base/check.h"
#include "config/config.h"
#include "config/known_flags.h"
#include "config/sources.h"

namespace gale {
namespace {

constexpr std::array kCommands = {
    CommandInfo{"serve", "MODEL [options]", "serve a model folder behind an OpenAI-compatible API", Command::kServe},
    CommandInfo{"ui", "[options]", "the web page, with a proxy to the API that keeps the key", Command::kUi},
    CommandInfo{"service", "ACTION [options]", "install, show and remove API and page as a service of this machine",
                Command::kService},
    CommandInfo{"chat", "[options]", "talk to a server from the terminal", Command::kChat},
    CommandInfo{"bench serve", "[options]", "measure a server under load", Command::kBenchServe},
    CommandInfo{"bench throughput", "[options]", "send many requests at once and tell tokens a second",
                Command::kBenchThroughput},
    CommandInfo{"bench latency", "[options]", "send batches one after the other and tell how long each takes",
                Command::kBenchLatency},
    CommandInfo{"download", "MODEL [options]", "bring a model of the Hub into the cache and say where it is",
                Command::kDownload},
    CommandInfo{"inspect", "MODEL [options]", "show a model's architecture, tensors and memory plan",
                Command::kInspect},
    CommandInfo{"tune", "MODEL [options]", "measure which kernels of a GPU are fastest for a model", Command::kTune},
    CommandInfo{"doctor", "[MODEL]", "tell what this machine has and what is missing", Command::kDoctor},
    CommandInfo{"engine", "MODEL [options]", "the computing process; serve starts it", Command::kEngine},
    CommandInfo{"grammar-compiler", "[options]", "what compiles the grammars of answers; serve starts it",
                Command::kGrammarCompiler},
};

constexpr std::array kGroups = {
    OptionGroup::kModel, OptionGroup::kMemory, OptionGroup::kScheduling, OptionGroup::kRuntime, OptionGroup::kChat,
    OptionGroup::kHttp,  OptionGroup::kLog,    OptionGroup::kClient,     OptionGroup::kBench,   OptionGroup::kHelp};

constexpr std::string_view kExitCodes =
    "Exit codes: 0 clean stop, 1 the server or a measurement failed, 2 usage, 3 model not found or bad,\n"
    "            4 out of memory at start, 5 port busy, 70 internal error\n";

const CommandInfo& info_of(Command command) {
  for (const CommandInfo& info : kCommands) {
    if (info.command == command) return info;
  }
  CHECK(false, "command {}", static_cast<int>(command));
}

std::string default_text(const Option& option) {
  static const Config fresh;
  const std::vector<std::string> values = option.show(fresh);
  if (!option.row.rules.zero_name.empty() && values == std::vector<std::string>{"0"})
    return std::string(option.row.rules.zero_name);
  return values.empty() ? "none" : fmt::format("{}", fmt::join(values, " "));
}

// "-q, --quick TEXT"
std::string usage_of(const Option& option) {
  const OptionRow& row = option.row;
  if (row.is_positional) return std::string(row.placeholder);
  const std::string short_form = row.alias.empty() ? "" : fmt::format("{}, ", row.alias);
  const std::string name = option.is_switch && option.show(Config{})[0] == "true"
                               ? fmt::format("{} / --no-{}", row.flag, row.flag.substr(2)) : std::string(row.flag);
  return fmt::format("{}{}{}{}{}", short_form, name, row.placeholder.empty() ? "" : " ", row.placeholder,
                     option.takes_many ? " ..." : "");
}

std::string notes_of(const Option& option) {
  if (option.row.is_positional || option.row.group == OptionGroup::kHelp) return "";
  std::string out;
  if (!option.is_switch) out = fmt::format(" (default: {})", default_text(option));
  if (!option.row.rules.choices.empty()) out += fmt::format(" (one of: {})", fmt::join(option.row.rules.choices, ", "));
  if (!option.row.environment.empty()) out += fmt::format(" (environment: {})", option.row.environment);
  return out;
}

// Words of `text` filled into lines of at most 100 columns behind an indent.
std::string filled(std::string_view text, size_t indent) {
  constexpr size_t kColumns = 100;
  std::string out(indent, ' ');
  size_t column = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column > indent && column + 1 + word.size() > kColumns) {
      out += '\n';
      out.append(indent, ' ');
      column = indent;
    }
    if (column > indent) out += ' ', ++column;
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string group_help(Command command, OptionGroup group, std::string_view part_of_flag) {
  std::string out;
  for (const Option& option : all_options()) {
    const bool is_shown = (option.row.commands & in(command)) != 0 && option.row.group == group &&
                          option.row.flag.find(part_of_flag) != std::string_view::npos;
    if (!is_shown) continue;
    out += fmt::format("  {}\n", usage_of(option));
    out += filled(fmt::format("{}{}", option.row.help, notes_of(option)), 6);
  }
  return out.empty() ? out : fmt::format("{}:\n{}\n", group_name(group), out);
}

std::string heading(const CommandInfo& info) {
  return fmt::format("gale {} {}\n{}.\n\n", info.name, info.arguments, info.summary);
}

void append_known(std::string& out, std::span<const KnownFlag> flags, KnownFlag::Kind kind, std::string_view title) {
  out += fmt::format("\n## {}\n\n| flag | why |\n| --- | --- |\n", title);
  for (const KnownFlag& known : flags) {
    if (known.kind != kind) continue;
    const std::string but =
        known.harmless.empty() ? "" : fmt::format(" (accepted: {})", fmt::join(known.harmless, ", "));
    out += fmt::format("| `{}` | {}{} |\n", known.flag, known.reason, but);
  }
}

}  // namespace

std::span<const CommandInfo> commands() { return kCommands; }

std::string overview() {
  std::string out = fmt::format("gale {}: serves GLM models behind an OpenAI-compatible API\n\n", kVersion);
  for (const CommandInfo& info : kCommands) {
    out += fmt::format("  {:<34}{}\n", fmt::format("gale {} {}", info.name, info.arguments), info.summary);
  }
  out +=
      "  gale --version\n\ngale COMMAND --help shows a command's options, --help=GROUP or --help=FLAG a part of "
      "them.\n\n";
  return out + std::string(kExitCodes);
}

Result<std::string> command_help(Command command, std::string_view topic) {
  const CommandInfo& info = info_of(command);
  std::string body;
  for (const OptionGroup group : kGroups) {
    if (topic.empty() || topic == "all" || topic == group_name(group)) body += group_help(command, group, "");
  }
  if (body.empty()) {
    const std::string part = canonical_flag(topic);
    for (const OptionGroup group : kGroups) body += group_help(command, group, part);
  }
  if (body.empty()) {
    std::vector<std::string_view> names;
    for (const OptionGroup group : kGroups) names.push_back(group_name(group));
    return fail(ErrorCode::kInvalidArgument, "--help={}: neither a group ({}) nor part of an option's name", topic,
                fmt::join(names, ", "));
  }
  const bool is_whole = topic.empty() || topic == "all";
  return heading(info) + body + (is_whole ? std::string(kExitCodes) : "");
}

std::string options_page() {
  std::string out =
      "# Options\n\nPrinted by `gale --help=markdown` from the program's own table; do not edit.\n\n"
      "Names may be written with `_` for `-`; `--flag=value` and `--flag value` mean the same; a switch has a `--no-` "
      "form;\n"
      "whole numbers take k, m, g (powers of 1000) and K, M, G (powers of 1024). `--config FILE` reads the same names "
      "from a\n"
      "TOML file, and `GALE_MAX_NUM_SEQS` in the environment sets `--max-num-seqs`. The command line counts before "
      "the\n"
      "environment, the environment before the file.\n";
  for (const CommandInfo& info : kCommands) {
    out += fmt::format("\n## gale {}\n\n`gale {} {}`: {}.\n", info.name, info.name, info.arguments, info.summary);
    for (const OptionGroup group : kGroups) {
      std::string rows;
      for (const Option& option : all_options()) {
        if ((option.row.commands & in(info.command)) == 0 || option.row.group != group) continue;
        rows += fmt::format("| `{}` | {}{} |\n", usage_of(option), option.row.help, notes_of(option));
      }
      if (!rows.empty())
        out += fmt::format("\n### {}\n\n| option | meaning |\n| --- | --- |\n{}", group_name(group), rows);
    }
  }
  append_known(out, known_flags(), KnownFlag::Kind::kNoted, "Accepted by gale serve, without effect (a note says so)");
  append_known(out, known_flags(), KnownFlag::Kind::kMeans, "Other spellings");
  append_known(out, known_flags(), KnownFlag::Kind::kRefused, "Refused by gale serve (exit code 2)");
  append_known(out, known_bench_flags(), KnownFlag::Kind::kNoted, "Accepted by gale bench, without effect");
  append_known(out, known_bench_flags(), KnownFlag::Kind::kMeans, "Other spellings for gale bench");
  append_known(out, known_bench_flags(), KnownFlag::Kind::kRefused, "Refused by gale bench (exit code 2)");
  out += "\n## Variables of the environment without effect (a note says so)\n\n| variable | why |\n| --- | --- |\n";
  for (const KnownVariable& known : known_variables()) out += fmt::format("| `{}` | {} |\n", known.name, known.reason);
  return out;
}

}  // namespace gale
