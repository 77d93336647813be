#include "config/option.h"

#include <algorithm>

#include "base/check.h"
#include "config/config.h"
#include "config/options.h"

namespace gale {

std::string_view group_name(OptionGroup group) {
  switch (group) {
    case OptionGroup::kModel: return "model";
    case OptionGroup::kMemory: return "memory";
    case OptionGroup::kScheduling: return "scheduling";
    case OptionGroup::kRuntime: return "runtime";
    case OptionGroup::kChat: return "chat";
    case OptionGroup::kHttp: return "http";
    case OptionGroup::kLog: return "log";
    case OptionGroup::kClient: return "client";
    case OptionGroup::kBench: return "bench";
    case OptionGroup::kHelp: return "help";
  }
  CHECK(false, "group {}", static_cast<int>(group));
}

const std::vector<Option>& all_options() {
  static const std::vector<Option> all = [] {
    std::vector<Option> out = engine_options();
    for (auto make : {hub_options, server_options, ui_options, client_options, bench_options}) {
      for (Option& option : make()) out.push_back(std::move(option));
    }
    return out;
  }();
  return all;
}

const Option* find_option(Command command, std::string_view name) {
  const std::string flag = canonical_flag(name);
  for (const Option& option : all_options()) {
    const bool is_called_so = option.row.flag == flag || (!option.row.alias.empty() && option.row.alias == flag);
    if (is_called_so && (option.row.commands & in(command)) != 0) return &option;
  }
  return nullptr;
}

std::string canonical_flag(std::string_view name) {
  std::string flag(name);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

}  // namespace gale
