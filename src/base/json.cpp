#include "base/json.h"

#include <simdjson.h>

#include <algorithm>
#include <vector>

namespace gale {
namespace {

using ObjectEntries = Json::object_t::Container;   // ordered_map is a vector: appending avoids its linear look-ups

Result<Json> convert(const simdjson::dom::element& element);

Status reject_duplicate_keys(const ObjectEntries& entries) {
  std::vector<std::string_view> keys;
  keys.reserve(entries.size());
  for (const auto& entry : entries) keys.emplace_back(entry.first);
  std::sort(keys.begin(), keys.end());
  const auto twin = std::adjacent_find(keys.begin(), keys.end());
  if (twin == keys.end()) return {};
  return fail(ErrorCode::kInvalidArgument, "duplicate key \"{}\" in an object", std::string(twin->substr(0, 100)));
}

Result<Json> convert_object(const simdjson::dom::object& object) {
  Json out = Json::object();
  auto& entries = static_cast<ObjectEntries&>(out.get_ref<Json::object_t&>());
  entries.reserve(object.size());
  for (const auto& field : object) {
    GALE_ASSIGN(Json value, convert(field.value));
    entries.emplace_back(std::string(field.key), std::move(value));
  }
  GALE_TRY(reject_duplicate_keys(entries));
  return out;
}

Result<Json> convert_array(const simdjson::dom::array& array) {
  Json out = Json::array();
  auto& items = out.get_ref<Json::array_t&>();
  items.reserve(array.size());
  for (const auto& item : array) {
    GALE_ASSIGN(Json value, convert(item));
    items.emplace_back(std::move(value));
  }
  return out;
}

// Recursion is bounded by JsonLimits::max_depth, which the parser enforced before.
Result<Json> convert(const simdjson::dom::element& element) {
  using Type = simdjson::dom::element_type;
  switch (element.type()) {
    case Type::OBJECT: return convert_object(element.get_object().value_unsafe());
    case Type::ARRAY: return convert_array(element.get_array().value_unsafe());
    case Type::STRING: return Json(std::string(element.get_string().value_unsafe()));
    case Type::INT64: return Json(element.get_int64().value_unsafe());
    case Type::UINT64: return Json(element.get_uint64().value_unsafe());
    case Type::DOUBLE: return Json(element.get_double().value_unsafe());
    case Type::BOOL: return Json(element.get_bool().value_unsafe());
    case Type::NULL_VALUE: return Json(nullptr);
    default: return fail(ErrorCode::kInvalidArgument, "a number is too large");
  }
}

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    return fail(ErrorCode::kTooLarge, "JSON text of {} bytes; the limit is {}", text.size(), limits.max_bytes);
  simdjson::dom::parser parser(limits.max_bytes);
  if (parser.allocate(std::max<size_t>(text.size(), 64), limits.max_depth) != simdjson::SUCCESS)
    return fail(ErrorCode::kOutOfMemory, "no memory to parse {} bytes of JSON", text.size());
  const simdjson::padded_string padded(text);
  simdjson::dom::element root;
  if (const auto error = parser.parse(padded).get(root); error != simdjson::SUCCESS)
    return fail(ErrorCode::kInvalidArgument, "invalid JSON: {}", simdjson::error_message(error));
  return convert(root);
}

std::string dump_json(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

void append_json_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte >= 0x20) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  out += '"';
}

}  // namespace gale
