#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

// What toml++ asserts is in part decided by a file's text, and release builds would assume it: here it is an error.
#undef NDEBUG
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : throw std::logic_error("malformed TOML"))
#include <toml++/toml.h>

#include "base/mapped_file.h"
#include "config/known_flags.h"
#include "config/sources.h"

namespace gale {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

// A value as the command line would have it; nullopt for what has no such form (a date, an array in an array).
std::optional<std::string> as_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* whole = node.as_integer()) return std::to_string(whole->get());
  if (const auto* number = node.as_floating_point()) return show_number(number->get());
  if (const auto* table = node.as_table()) {
    std::ostringstream json;
    json << toml::json_formatter(*table);
    return json.str();
  }
  return std::nullopt;
}

std::optional<std::vector<std::string>> as_texts(const toml::node& node) {
  std::vector<std::string> values;
  if (const toml::array* array = node.as_array()) {
    for (const toml::node& item : *array) {
      std::optional<std::string> text = as_text(item);
      if (!text) return std::nullopt;
      values.push_back(std::move(*text));
    }
    return values.empty() ? std::nullopt : std::optional(values);
  }
  std::optional<std::string> text = as_text(node);
  if (!text) return std::nullopt;
  return std::vector<std::string>{std::move(*text)};
}

bool belongs_to_any_command(std::string_view flag) {
  const auto& options = all_options();
  return std::any_of(options.begin(), options.end(), [flag](const Option& option) { return option.row.flag == flag; });
}

// toml++ throws; its exceptions end here.
Result<toml::table> parse_toml(const std::string& path, std::string_view text) {
  try {
    return toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::kInvalidArgument, "{}:{}: {}", path, error.source().begin.line,
                error.description());
  } catch (const std::logic_error& error) {
    return fail(ErrorCode::kInvalidArgument, "{}: {}", path, error.what());
  }
}

}  // namespace

Result<Values> parse_config_file(Command command, const std::string& path) {
  const Result<std::string> text = read_file(path, kMaxFileBytes);
  if (!text) return fail(ErrorCode::kInvalidArgument, "--config: {}", text.error().message);
  GALE_ASSIGN(const toml::table table, parse_toml(path, *text));
  Values values;
  for (const auto& [key, node] : table) {
    const std::string flag = canonical_flag("--" + std::string(key.str()));
    const auto line = node.source().begin.line;
    const Option* option = find_option(command, flag);
    if (option == nullptr) {
      if (belongs_to_any_command(flag)) continue;
      const KnownFlag* known = find_known_flag(flag);
      return fail(ErrorCode::kInvalidArgument, "{}:{}: {} '{}'{}", path, line,
                  known ? "this build does not have the option" : "unknown option", key.str(),
                  known ? fmt::format(": {}", known->reason) : suggestion(command, flag));
    }
    std::optional<std::vector<std::string>> texts = as_texts(node);
    if (!texts || (texts->size() > 1 && !option->takes_many)) {
      return fail(ErrorCode::kInvalidArgument, "{}:{}: '{}' cannot take this kind of value", path, line,
                  key.str());
    }
    values[option] = std::move(*texts);
  }
  return values;
}

}  // namespace gale
