#include <fmt/format.h>

#include <algorithm>

#include "config/known_flags.h"
#include "config/nearest.h"
#include "config/sources.h"

namespace gale {
namespace {

// "--flag.key=value" taken apart.
struct Spelling {
  std::string flag;                        // canonical
  std::string key;                         // of a JSON option: what follows the first dot
  std::optional<std::string> value;        // what follows "="
};

Spelling take_apart(std::string_view argument) {
  Spelling out;
  const size_t equals = argument.find('=');
  if (equals != std::string_view::npos) out.value = std::string(argument.substr(equals + 1));
  const std::string_view name = argument.substr(0, equals);
  const size_t dot = name.find('.');
  if (dot != std::string_view::npos) out.key = std::string(name.substr(dot + 1));
  out.flag = canonical_flag(name.substr(0, dot));
  return out;
}

bool is_flag(std::string_view argument) {
  const bool is_number = argument.size() > 1 && (argument[1] == '.' || (argument[1] >= '0' && argument[1] <= '9'));
  return argument.size() > 1 && argument[0] == '-' && !is_number;
}

// The value as JSON if it is JSON, else as a text; under its dotted key.
std::string nested_object(std::string_view key, const std::string& text) {
  const Result<Json> parsed = parse_json(text);
  Json value = parsed ? *parsed : Json(text);
  for (size_t dot = key.rfind('.'); dot != std::string_view::npos; dot = key.rfind('.')) {
    value = Json{{std::string(key.substr(dot + 1)), value}};
    key = key.substr(0, dot);
  }
  return dump_json(Json{{std::string(key), value}});
}

// Walks over the arguments once.
class ArgumentReader {
 public:
  ArgumentReader(Command command, std::span<const std::string> arguments) : command_(command), arguments_(arguments) {}

  Result<ParsedArguments> read() {
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (argument == "--") {
        while (next_ < arguments_.size()) GALE_TRY(add_positional(arguments_[next_++]));
      } else if (is_flag(argument)) {
        GALE_TRY(add_flag(take_apart(argument)));
      } else {
        GALE_TRY(add_positional(argument));
      }
    }
    return std::move(out_);
  }

 private:
  Status add_positional(const std::string& argument) {
    for (const Option& option : all_options()) {
      if (!option.row.is_positional || (option.row.commands & in(command_)) == 0) continue;
      if (argument.empty()) return fail(ErrorCode::kInvalidArgument, "{} is empty", option.row.placeholder);
      if (out_.values.contains(&option)) {
        return fail(ErrorCode::kInvalidArgument, "'{}' is one argument too many: {} is already '{}'", argument,
                    option.row.placeholder, out_.values.at(&option).back());
      }
      out_.values[&option].push_back(argument);
      return {};
    }
    return fail(ErrorCode::kInvalidArgument, "'{}' is one argument too many", argument);
  }

  Status add_flag(Spelling spelling) {
    if (spelling.flag == "--help" || spelling.flag == "-h") {
      out_.help = spelling.value.value_or("");
      return {};
    }
    if (const Option* option = find_option(command_, spelling.flag)) return add_option(*option, std::move(spelling));
    constexpr std::string_view kNo = "--no-";
    if (spelling.flag.starts_with(kNo)) {
      const Option* option = find_option(command_, "--" + spelling.flag.substr(kNo.size()));
      if (option != nullptr && option->is_switch && !spelling.value) {
        out_.values[option].emplace_back("false");
        return {};
      }
    }
    if (const KnownFlag* known = known_here(spelling.flag)) return add_known(*known, spelling);
    return fail_param(ErrorCode::kInvalidArgument, spelling.flag, "unknown option {}{}", spelling.flag,
                      suggestion(command_, spelling.flag));
  }

  // Flags of other servers mean something to `serve` (and to `engine`, which serve starts), those of their load tests
  // to ours.
  [[nodiscard]] const KnownFlag* known_here(std::string_view flag) const {
    const CommandSet load_tests = in(Command::kBenchServe, Command::kBenchThroughput, Command::kBenchLatency);
    if ((load_tests & in(command_)) != 0) return find_known_bench_flag(flag);
    return command_ == Command::kServe ? find_known_flag(flag) : nullptr;
  }

  Status add_option(const Option& option, Spelling spelling) {
    if (option.row.flag == "--config") {
      GALE_ASSIGN(out_.config_file, take_value(option.row.flag, spelling));
      return {};
    }
    if (!spelling.key.empty() && !option.is_json) {
      return fail_param(ErrorCode::kInvalidArgument, spelling.flag, "{} takes no keys, but '.{}' follows it",
                        spelling.flag, spelling.key);
    }
    std::vector<std::string>& values = out_.values[&option];
    if (option.is_switch) {
      values.push_back(spelling.value.value_or("true"));
      return {};
    }
    GALE_ASSIGN(const std::string value, take_value(option.row.flag, spelling));
    values.push_back(spelling.key.empty() ? value : nested_object(spelling.key, value));
    while (option.takes_many && !spelling.value && next_ < arguments_.size() && !is_flag(arguments_[next_])) {
      values.push_back(arguments_[next_++]);
    }
    return {};
  }

  Status add_known(const KnownFlag& known, const Spelling& spelling) {
    if (known.kind == KnownFlag::Kind::kMeans) return add_flag(take_apart(known.reason));
    std::string value = spelling.value.value_or("");
    if (known.takes_value && !spelling.value) {
      GALE_ASSIGN(value, take_value(known.flag, spelling));
      while (next_ < arguments_.size() && !is_flag(arguments_[next_]) && known.harmless.empty() && has_model()) ++next_;
    }
    if (known.kind == KnownFlag::Kind::kNoted) {
      out_.notes.push_back(fmt::format("{} has no effect: {}", known.flag, known.reason));
      return {};
    }
    if (std::ranges::find(known.harmless, std::string_view(value)) != known.harmless.end()) return {};
    return fail_param(ErrorCode::kInvalidArgument, std::string(known.flag), "{}{}{} is refused: {}", known.flag,
                      value.empty() ? "" : " ", value, known.reason);
  }

  [[nodiscard]] bool has_model() const {
    return std::ranges::any_of(out_.values, [](const auto& entry) { return entry.first->row.is_positional; });
  }

  Result<std::string> take_value(std::string_view flag, const Spelling& spelling) {
    if (spelling.value) return *spelling.value;
    if (next_ >= arguments_.size() || is_flag(arguments_[next_])) {
      return fail_param(ErrorCode::kInvalidArgument, std::string(flag), "{} needs a value", flag);
    }
    return arguments_[next_++];
  }

  Command command_;
  std::span<const std::string> arguments_;
  size_t next_ = 0;
  ParsedArguments out_;
};

}  // namespace

Result<ParsedArguments> parse_arguments(Command command, std::span<const std::string> arguments) {
  return ArgumentReader(command, arguments).read();
}

std::string suggestion(Command command, std::string_view flag) {
  std::vector<std::string> candidates;
  for (const Option& option : all_options()) {
    const bool is_ours = (option.row.commands & in(command)) != 0;
    if (is_ours && !option.row.is_positional) candidates.emplace_back(option.row.flag);
    if (is_ours && option.is_switch) candidates.push_back("--no-" + std::string(option.row.flag.substr(2)));
  }
  const std::optional<std::string> nearest = nearest_word(flag, candidates);
  return nearest ? fmt::format("; did you mean {}?", *nearest) : "; --help lists what there is";
}

}  // namespace gale
