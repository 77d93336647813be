#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/value.h"

namespace gale {

struct Config;

// The program's commands, as bits so that an option can belong to several.
enum class Command : uint16_t {
  kServe = 1, kEngine = 2, kChat = 4, kBenchServe = 8, kInspect = 16, kDoctor = 32, kUi = 64,
  kBenchThroughput = 128, kBenchLatency = 256, kService = 512, kGrammarCompiler = 1024, kDownload = 2048,
  kTune = 4096
};
using CommandSet = uint16_t;
[[nodiscard]] constexpr CommandSet in(Command command) { return static_cast<CommandSet>(command); }
template <class... Commands>
[[nodiscard]] constexpr CommandSet in(Command first, Commands... rest) {
  return static_cast<CommandSet>(in(first) | in(rest...));
}

enum class OptionGroup : uint8_t { kModel, kMemory, kScheduling, kRuntime, kChat, kHttp, kLog, kClient, kBench, kHelp };
[[nodiscard]] std::string_view group_name(OptionGroup group);   // as --help=GROUP takes it

// What a row says of an option. The default is not here: it is the value the field has in a fresh Config.
struct OptionRow {
  std::string_view flag;               // "--max-num-seqs"
  std::string_view placeholder = "";   // "N"; empty for a switch
  std::string_view help;
  OptionGroup group = OptionGroup::kModel;
  CommandSet commands = 0;
  std::string_view alias = "";         // "-q"
  std::string_view environment = "";   // further variable that sets it; GALE_MAX_NUM_SEQS always does
  ValueRules rules = {};
  bool is_positional = false;          // the argument without a flag
};

// One option: a row bound to the field it sets.
struct Option {
  OptionRow row;
  bool is_switch = false;
  bool takes_many = false;             // a list: takes all arguments up to the next flag, may repeat
  bool is_json = false;                // an object; --flag.key value sets one key
  std::function<Status(Config&, std::span<const std::string>)> set;   // all values of one source, in order
  std::function<std::vector<std::string>(const Config&)> show;        // what `set` would take to make the same value
};

// option<&Config::engine, &EngineConfig::max_num_seqs>({.flag = "--max-num-seqs", ...}): the path leads to the field.
template <auto... Path>
[[nodiscard]] Option option(OptionRow row) {
  const auto reach = [](auto& config) -> auto& { return reach_member<Path...>(config); };
  using Field = std::remove_cvref_t<decltype(reach_member<Path...>(std::declval<Config&>()))>;
  Option made{.row = std::move(row), .is_switch = IsSwitch<Field>::value, .takes_many = IsList<Field>::value,
              .is_json = std::is_same_v<Field, Json>};
  if constexpr (std::is_enum_v<Field>) {
    for (const auto& [name, value] : EnumNames<Field>::names) made.row.rules.choices.push_back(name);
  }
  const ValueRules rules = made.row.rules;
  made.set = [reach, rules](Config& config, std::span<const std::string> values) {
    return read_values(rules, values, reach(config));
  };
  made.show = [reach](const Config& config) { return show_values(reach(config)); };
  return made;
}

// Every option of every command, in the order that help prints.
[[nodiscard]] const std::vector<Option>& all_options();

// The option that `name` (dashes or underscores, with its leading dashes) means for the command; null if none.
[[nodiscard]] const Option* find_option(Command command, std::string_view name);

// "--max_num_seqs" as the rows write it.
[[nodiscard]] std::string canonical_flag(std::string_view name);

}  // namespace gale
