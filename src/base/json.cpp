#include "base/json.h"

#include <simdjson.h>

#include <algorithm>
#include <optional>
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
  return fail(ErrorCode::kInvalidArgument, "duplicate key {} in an object",
              dump_json(Json(std::string(twin->substr(0, 100)))));   // with its escapes: a message is one line
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

// Walks over a text for the place where it stops being JSON, or for a whole number that is none of ours.
struct PlaceOfError final : nlohmann::json_sax<Json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t& text) override {
    has_big_number = text.find_first_of(".eE") == string_t::npos;
    return !has_big_number;
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t& name) override {
    last_key = name;
    return true;
  }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    at = position;
    return false;
  }
  std::optional<size_t> at;   // how many bytes were read, the wrong one counted in
  std::string last_key;
  bool has_big_number = false;   // the walk ended at it: it is the value of last_key, or part of it
};

// The fast parser says that something is wrong; people want to know where. Large texts are not read again.
Error describe_error(std::string_view text, simdjson::error_code error) {
  constexpr size_t kMaxReread = size_t{1} << 20;
  constexpr size_t kMaxShownKey = 100;
  const auto invalid = [](std::string_view reason) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("invalid JSON: {}", reason), {}};
  };
  PlaceOfError place;
  if (text.size() <= kMaxReread) Json::sax_parse(text.begin(), text.end(), &place);
  if (place.has_big_number && place.last_key.size() <= kMaxShownKey) {
    return {ErrorCode::kInvalidArgument,
            fmt::format("{}: whole numbers may be from -2^63 to 2^64 - 1",
                        place.last_key.empty() ? "the value" : dump_json(Json(place.last_key))),
            place.last_key};
  }
  if (!place.at) {
    const std::string_view reason = simdjson::error_message(error);   // "CODE: reason"
    const size_t colon = reason.find(": ");
    return invalid(reason.substr(colon == std::string_view::npos ? 0 : colon + 2));
  }
  if (*place.at > text.size()) return invalid("the text ends too early");
  const std::string_view before = text.substr(0, *place.at > 0 ? *place.at - 1 : 0);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t line_start = before.rfind('\n') + 1;   // 0 where there is none
  return invalid(fmt::format("line {}, column {}: this cannot stand here", line, before.size() - line_start + 1));
}

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    return fail(ErrorCode::kTooLarge, "JSON text of {} bytes; the limit is {}", text.size(), limits.max_bytes);
  simdjson::dom::parser parser(limits.max_bytes);
  const simdjson::padded_string padded(text);   // without memory it is empty, which would be another error
  auto error = padded.size() == text.size() ? parser.allocate(std::max<size_t>(text.size(), 64), limits.max_depth)
                                            : simdjson::MEMALLOC;
  simdjson::dom::element root;
  if (error == simdjson::SUCCESS) error = parser.parse(padded).get(root);
  if (error == simdjson::MEMALLOC)
    return fail(ErrorCode::kOutOfMemory, "no memory to parse {} bytes of JSON", text.size());
  if (error != simdjson::SUCCESS) return tl::unexpected(describe_error(text, error));
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
