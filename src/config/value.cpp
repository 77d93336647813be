#include "config/value.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cmath>

namespace gale {
namespace {

struct Suffix {
  char letter;
  double factor;
};
constexpr std::array kSuffixes = {Suffix{'k', 1e3},    Suffix{'m', 1e6},     Suffix{'g', 1e9},       Suffix{'t', 1e12},
                                  Suffix{'K', 0x1p10}, Suffix{'M', 0x1p20}, Suffix{'G', 0x1p30}, Suffix{'T', 0x1p40}};
// Beyond this a double no longer holds every whole number; no option comes near.
constexpr double kLargestExact = 0x1p53;

std::string range_text(const ValueRules& rules) {
  const bool has_max = rules.max < kLargestExact;
  if (rules.min > -kLargestExact && has_max) return fmt::format(" from {} to {}", rules.min, rules.max);
  if (rules.min > -kLargestExact) return fmt::format(" of at least {}", rules.min);
  return has_max ? fmt::format(" of at most {}", rules.max) : std::string();
}

// NaN unless the whole text is a finite number.
double read_double(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
  return is_number ? value : std::nan("");
}

}  // namespace

Result<int64_t> parse_whole_number(const ValueRules& rules, std::string_view text) {
  if (!rules.zero_name.empty() && (text == rules.zero_name || text == "0" || text == "-1")) return 0;
  std::string_view digits = text;
  double factor = 1;
  for (const Suffix& suffix : kSuffixes) {
    if (!digits.empty() && digits.back() == suffix.letter) {
      factor = suffix.factor;
      digits.remove_suffix(1);
      break;
    }
  }
  const double value = read_double(digits) * factor;
  if (!(value == std::floor(value)) || std::abs(value) > kLargestExact || value < rules.min || value > rules.max) {
    return fail(ErrorCode::kInvalidArgument, "expected a whole number{}{} (k, m, g, K, M, G may follow), got '{}'",
                range_text(rules), rules.zero_name.empty() ? "" : fmt::format(" or {}", rules.zero_name), text);
  }
  return static_cast<int64_t>(value);
}

Result<double> parse_number(const ValueRules& rules, std::string_view text) {
  if (text == "inf" && rules.max == std::numeric_limits<double>::infinity()) return rules.max;
  const double value = read_double(text);
  if (!(value >= rules.min && value <= rules.max)) {
    return fail(ErrorCode::kInvalidArgument, "expected a number{}, got '{}'", range_text(rules), text);
  }
  return value;
}

Result<bool> parse_switch(std::string_view given) {
  const std::string text = lower_case(given);
  for (const std::string_view yes : {"true", "1", "yes", "on"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"false", "0", "no", "off"}) {
    if (text == no) return false;
  }
  return fail(ErrorCode::kInvalidArgument, "expected true or false, got '{}'", given);
}

Result<std::string> parse_text(const ValueRules& rules, std::string_view text) {
  if (rules.choices.empty()) return std::string(text);
  for (const std::string_view choice : rules.choices) {
    if (text == choice) return std::string(text);
  }
  return fail(ErrorCode::kInvalidArgument, "expected one of {}, got '{}'", fmt::join(rules.choices, ", "), text);
}

Result<Json> parse_object(std::string_view text) {
  const Result<Json> value = parse_json(text);
  if (!value) return fail(ErrorCode::kInvalidArgument, "expected a JSON object: {}", value.error().message);
  if (!value->is_object()) return fail(ErrorCode::kInvalidArgument, "expected a JSON object, got '{}'", text);
  return *value;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::string show_number(double value) { return fmt::format("{}", value); }

}  // namespace gale
