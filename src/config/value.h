#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace gale {

// What a value must obey besides its type.
struct ValueRules {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string_view> choices = {};   // of a text; empty: any
  std::string_view zero_name = "";              // a word that means 0, as does -1: "auto"
};

[[nodiscard]] inline ValueRules range(double min, double max) { return {.min = min, .max = max}; }
[[nodiscard]] inline ValueRules at_least(double min) { return {.min = min}; }
[[nodiscard]] inline ValueRules at_least_or(double min, std::string_view zero_name) {
  return {.min = min, .zero_name = zero_name};
}
[[nodiscard]] inline ValueRules one_of(std::vector<std::string_view> choices) {
  return {.choices = std::move(choices)};
}

template <auto First, auto... Rest, class T>
auto& reach_member(T& object) {
  if constexpr (sizeof...(Rest) == 0) {
    return object.*First;
  } else {
    return reach_member<Rest...>(object.*First);
  }
}

template <class T> struct IsList : std::false_type {};
template <class T> struct IsList<std::vector<T>> : std::true_type {};
template <class T> struct IsOptional : std::false_type {};
template <class T> struct IsOptional<std::optional<T>> : std::true_type {};
template <class T> struct IsDuration : std::false_type {};   // read and shown in seconds
template <class Rep, class Period> struct IsDuration<std::chrono::duration<Rep, Period>> : std::true_type {};
template <class T> struct IsSwitch : std::is_same<T, bool> {};

// The words for an enumeration's values: a specialisation holds `static constexpr std::array names` of pairs of word
// and value.
template <class T> struct EnumNames;

// Text to value. The errors say what was expected and what came; the caller puts the option's name before them.
// Whole numbers take suffixes: k, m, g are powers of 1000, K, M, G of 1024; with the small ones 1.5k is fine.
[[nodiscard]] Result<int64_t> parse_whole_number(const ValueRules& rules, std::string_view text);
[[nodiscard]] Result<double> parse_number(const ValueRules& rules, std::string_view text);
[[nodiscard]] Result<bool> parse_switch(std::string_view text);
[[nodiscard]] Result<std::string> parse_text(const ValueRules& rules, std::string_view text);
[[nodiscard]] Result<Json> parse_object(std::string_view text);
[[nodiscard]] std::string lower_case(std::string_view text);
[[nodiscard]] std::string show_number(double value);

template <class T>
[[nodiscard]] Status read_value(const ValueRules& rules, std::string_view text, T& out) {
  if constexpr (IsOptional<T>::value) {
    if (text == "auto" || text == "none") {
      out.reset();
      return {};
    }
    return read_value(rules, text, out.emplace());
  } else if constexpr (std::is_same_v<T, bool>) {
    GALE_ASSIGN(out, parse_switch(text));
  } else if constexpr (std::is_integral_v<T>) {
    ValueRules narrowed = rules;
    narrowed.min = std::max(rules.min, static_cast<double>(std::numeric_limits<T>::min()));
    narrowed.max = std::min(rules.max, static_cast<double>(std::numeric_limits<T>::max()));
    GALE_ASSIGN(const int64_t number, parse_whole_number(narrowed, text));
    out = static_cast<T>(number);
  } else if constexpr (std::is_floating_point_v<T>) {
    GALE_ASSIGN(const double number, parse_number(rules, text));
    out = static_cast<T>(number);
  } else if constexpr (std::is_enum_v<T>) {
    const std::string word = lower_case(text);
    for (const auto& [name, value] : EnumNames<T>::names) {
      if (word == name) out = value;
    }
    GALE_TRY(parse_text(rules, word).map([](const std::string&) {}));   // the rules hold the words
  } else if constexpr (IsDuration<T>::value) {
    GALE_ASSIGN(const double number, parse_number(rules, text));
    out = std::chrono::duration_cast<T>(std::chrono::duration<double>(number));
  } else {
    static_assert(std::is_same_v<T, std::string>, "no way to read this type from an option");
    GALE_ASSIGN(out, parse_text(rules, text));
  }
  return {};
}

// A list takes all values, an object merges them, of anything else the last counts. Precondition: !values.empty().
template <class T>
[[nodiscard]] Status read_values(const ValueRules& rules, std::span<const std::string> values, T& out) {
  if constexpr (IsList<T>::value) {
    out.clear();
    for (const std::string& value : values) GALE_TRY(read_value(rules, value, out.emplace_back()));
    return {};
  } else if constexpr (std::is_same_v<T, Json>) {
    Json merged = Json::object();
    for (const std::string& value : values) {
      GALE_ASSIGN(const Json object, parse_object(value));
      merged.update(object);
    }
    out = std::move(merged);
    return {};
  } else {
    return read_value(rules, values.back(), out);
  }
}

// Value to text that read_values takes back; empty where nothing is set.
template <class T>
[[nodiscard]] std::vector<std::string> show_values(const T& value) {
  if constexpr (IsList<T>::value) {
    std::vector<std::string> all;
    for (const auto& item : value) all.push_back(show_values(item).at(0));
    return all;
  } else if constexpr (IsOptional<T>::value) {
    return value ? show_values(*value) : std::vector<std::string>{};
  } else if constexpr (std::is_same_v<T, bool>) {
    return {value ? "true" : "false"};
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [name, known] : EnumNames<T>::names) {
      if (known == value) return {std::string(name)};
    }
    return {};
  } else if constexpr (IsDuration<T>::value) {
    return {show_number(std::chrono::duration<double>(value).count())};
  } else if constexpr (std::is_integral_v<T>) {
    return {std::to_string(value)};
  } else if constexpr (std::is_floating_point_v<T>) {
    return {show_number(static_cast<double>(value))};
  } else if constexpr (std::is_same_v<T, Json>) {
    return value.empty() ? std::vector<std::string>{} : std::vector<std::string>{dump_json(value)};
  } else {
    return value.empty() ? std::vector<std::string>{} : std::vector<std::string>{value};
  }
}

}  // namespace gale
