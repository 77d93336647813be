#include "api/request_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace gale {

std::string brief(const Json& value) {
  constexpr size_t kMaxShown = 60;
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = dump_json(value);
  if (text.size() <= kMaxShown) return text;
  text.resize(complete_utf8_prefix(std::string_view(text).substr(0, kMaxShown)));
  return text + "…";
}

const Json* RequestReader::find(const char* key) {
  read_.emplace(key);
  if (error_) return nullptr;
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void RequestReader::refuse(const char* key, ErrorCode code, std::string message) {
  if (!error_) error_ = Error{code, std::move(message), key};
}

void RequestReader::expected(const char* key, std::string_view what, const Json& found) {
  refuse(key, ErrorCode::kInvalidArgument, fmt::format("{} must be {}, got {}", key, what, brief(found)));
}

std::optional<double> RequestReader::read_number(const char* key, const NumberRange& range, bool must_be_whole) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : NAN;
  const bool is_whole = value->is_number() && std::floor(number) == number;
  const bool is_inside = number <= range.max && (range.excludes_min ? number > range.min : number >= range.min);
  if (!is_inside || (must_be_whole && !is_whole)) {   // NaN is never inside
    expected(key, fmt::format("{} {} {} {} at most {}", must_be_whole ? "an integer" : "a number",
                              range.excludes_min ? "above" : "of at least", range.min, "and", range.max), *value);
    return std::nullopt;
  }
  return number;
}

void RequestReader::number(const char* key, const NumberRange& range, std::optional<float>& target) {
  if (const auto value = read_number(key, range, false)) target = static_cast<float>(*value);
}

void RequestReader::integer(const char* key, const NumberRange& range, std::optional<int>& target) {
  if (const auto value = read_number(key, range, true)) target = static_cast<int>(*value);
}

void RequestReader::integer(const char* key, const NumberRange& range, int& target) {
  if (const auto value = read_number(key, range, true)) target = static_cast<int>(*value);
}

void RequestReader::boolean(const char* key, bool& target) {
  const Json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return expected(key, "true or false", *value);
  target = value->get<bool>();
}

void RequestReader::string(const char* key, std::string& target) {
  const Json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string()) return expected(key, "a string", *value);
  target = value->get<std::string>();
}

void RequestReader::seed(const char* key, std::optional<uint64_t>& target) {
  const Json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_number_integer()) return expected(key, "an integer from -2^63 to 2^64 - 1", *value);
  if (value->is_number_unsigned()) {
    target = value->get<uint64_t>();
  } else if (value->get<int64_t>() != -1) {
    target = static_cast<uint64_t>(value->get<int64_t>());
  }
}

void RequestReader::strings(const char* key, size_t limit, std::vector<std::string>& target) {
  const Json* value = find(key);
  if (value == nullptr) return;
  const Json list = value->is_string() ? Json::array({*value}) : *value;
  const auto is_text = [](const Json& item) { return item.is_string() && !item.get_ref<const std::string&>().empty(); };
  if (!list.is_array() || list.size() > limit || !std::all_of(list.begin(), list.end(), is_text))
    return expected(key, fmt::format("a non-empty string or a list of at most {} non-empty strings", limit), *value);
  target = list.get<std::vector<std::string>>();
}

bool RequestReader::check_token(const char* key, int64_t id, int vocab_size) {
  if (id >= 0 && id < vocab_size) return true;
  refuse(key, ErrorCode::kInvalidArgument,
         fmt::format("{}: token id {} is outside the vocabulary of {}", key, id, vocab_size));
  return false;
}

void RequestReader::token_ids(const char* key, int vocab_size, std::vector<TokenId>& target) {
  const Json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_array()) return expected(key, "a list of token ids", *value);
  std::vector<TokenId> ids;
  for (const Json& item : *value) {
    if (!item.is_number_integer())
      return refuse(key, ErrorCode::kInvalidArgument,
                    fmt::format("{}[{}] must be a token id, got {}", key, ids.size(), brief(item)));
    if (!check_token(key, item.is_number_unsigned() && item.get<uint64_t>() > INT64_MAX ? -1 : item.get<int64_t>(),
                     vocab_size))
      return;
    ids.push_back(item.get<TokenId>());
  }
  target = std::move(ids);
}

void RequestReader::logit_bias(const char* key, int vocab_size, std::vector<std::pair<TokenId, float>>& target) {
  const Json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_object()) return expected(key, "an object of token ids and biases", *value);
  for (const auto& [name, bias] : value->items()) {
    int64_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size())
      return refuse(key, ErrorCode::kInvalidArgument, fmt::format("{}: {} is no token id", key, brief(Json(name))));
    if (!bias.is_number() || !std::isfinite(bias.get<double>()))
      return expected(key, "an object whose values are numbers", bias);
    if (!check_token(key, id, vocab_size)) return;
    target.emplace_back(static_cast<TokenId>(id), std::clamp(bias.get<float>(), -100.0F, 100.0F));
  }
}

void RequestReader::refuse_unless(const char* key, const std::vector<Json>& harmless, const char* reason) {
  const Json* value = find(key);
  if (value == nullptr || std::find(harmless.begin(), harmless.end(), *value) != harmless.end()) return;
  refuse(key, ErrorCode::kUnimplemented, fmt::format("{}: {}", key, reason));
}

std::vector<std::string> RequestReader::unread_keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object_.items())
    if (!read_.contains(key)) keys.push_back(key);
  return keys;
}

Status RequestReader::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

}  // namespace gale
