#include "chat/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_text.h"
#include "chat/json_formats.h"
#include "chat/optional_groups.h"

namespace gale {
namespace {

constexpr int kMaxNodes = 10'000;
constexpr int kMaxDepth = 64;
constexpr size_t kMaxChoiceBytes = 256 << 10;    // of all enum and const values together
constexpr int64_t kMaxCount = 4096;              // items, characters, properties

using Keywords = std::vector<std::string_view>;

// Assertions that masks cannot follow. Unknown keywords are annotations, as JSON Schema says.
const Keywords kUnsupported = {
    "not",      "if",          "then",        "else",        "dependentRequired", "dependentSchemas", "dependencies",
    "contains", "minContains", "maxContains", "$dynamicRef", "$recursiveRef",     "unevaluatedItems"};
const Keywords kCombinators = {"$ref", "anyOf", "oneOf", "allOf", "enum", "const"};
const Keywords kObject = {"properties",        "required",      "additionalProperties", "unevaluatedProperties",
                          "patternProperties", "propertyNames", "minProperties",        "maxProperties"};
const Keywords kArray = {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"};
const Keywords kString = {"minLength", "maxLength", "pattern", "format"};
const Keywords kNumber = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"};
const Keywords kFormats = {"date",     "time", "date-time", "duration", "ipv4",         "ipv6",
                           "hostname", "uuid", "email",     "uri",      "uri-reference"};
// OpenAPI's notes on numbers and encodings, which restrict no text.
const Keywords kHarmlessFormats = {"int32", "int64", "float", "double", "byte", "binary", "password"};

bool is_among(std::string_view word, const Keywords& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool matches_type(const Json& value, const Json& type) {
  if (type.is_array())
    return std::any_of(type.begin(), type.end(), [&](const Json& one) { return matches_type(value, one); });
  const std::string_view name = text_of(type);
  if (name == "string") return value.is_string();
  if (name == "null") return value.is_null();
  if (name == "boolean") return value.is_boolean();
  if (name == "object") return value.is_object();
  if (name == "array") return value.is_array();
  if (name == "integer") return value.is_number() && std::floor(value.get<double>()) == value.get<double>();
  return name == "number" && value.is_number();
}

// Whether a pattern asks for characters that JSON writes escaped: quotes, backslashes, control characters. xgrammar
// reads a pattern as the text between the quotes, so such an answer would be no JSON, or another text. Classes leave
// them out.
bool asks_for_escapes(std::string_view pattern) {
  bool is_in_class = false, is_negated = false;
  for (size_t at = 0; at < pattern.size(); ++at) {
    char c = pattern[at];
    if (c == '[' && !is_in_class) {
      is_in_class = true;
      is_negated = pattern.substr(at + 1).starts_with('^');
      continue;
    }
    if (c == ']') is_in_class = is_negated = false;
    const bool is_escape = c == '\\' && at + 1 < pattern.size();
    if (is_escape) c = pattern[++at];
    if (is_negated) continue;
    const bool is_special = c == '"' || static_cast<unsigned char>(c) < 0x20 ||
                            (is_escape && std::string_view("\\nrtfv0cxu").find(c) != std::string_view::npos);
    if (is_special && !(is_escape && c == 'u' && pattern.substr(at + 1, 2) > "00")) return true;
  }
  return false;
}

class Preparer {
 public:
  Preparer(const Json& root, std::string where, SchemaDemand demand)
      : root_(root), root_where_(std::move(where)), demand_(demand) {}

  Result<Json> prepare(const Json& given, const std::string& where, int depth);

 private:
  template <class... Args>
  [[nodiscard]] tl::unexpected<Error> refuse(const std::string& where, fmt::format_string<Args...> format,
                                             Args&&... args) const {
    return fail_param(ErrorCode::kInvalidArgument, where, "{}: {}", where,
                      fmt::format(format, std::forward<Args>(args)...));
  }
  [[nodiscard]] bool is_relaxed() const { return demand_ == SchemaDemand::kShape; }

  Status drop_unsupported(Json& schema, const std::string& where) const;
  Status note_choices(const Json& values, const std::string& where);
  Status infer_type(Json& schema, const std::string& where) const;
  Status check_siblings(Json& schema, const std::string& keyword, const std::string& where) const;
  Status check_ref(const Json& ref, const std::string& where) const;
  Status prepare_each(Json& schemas, const std::string& where, int depth);
  Status prepare_at(Json& schema, const char* key, const std::string& where, int depth);
  Status prepare_combinator(Json& schema, const std::string& keyword, const std::string& where, int depth);
  Status prepare_choice(Json& schema, const std::string& where);
  Status prepare_types(Json& schema, const std::string& where, int depth);
  Status prepare_object(Json& schema, const std::string& where, int depth);
  Status prepare_name_patterns(Json& schema, const std::string& where, int depth);
  Status prepare_required(Json& schema, const std::string& where) const;
  Status close_odd_names(Json& schema, const std::string& where) const;
  Status prepare_array(Json& schema, const std::string& where, int depth);
  Status prepare_string(Json& schema, const std::string& where) const;
  Status prepare_number(Json& schema, bool is_integer, const std::string& where) const;
  Result<int64_t> count_at(const Json& schema, const char* key, int64_t otherwise, const std::string& where) const;

  const Json& root_;
  const std::string root_where_;
  const SchemaDemand demand_;
  int num_nodes_ = 0;
  size_t num_choice_bytes_ = 0;
};

Status Preparer::drop_unsupported(Json& schema, const std::string& where) const {
  for (const std::string_view keyword : kUnsupported) {
    const std::string key(keyword);
    if (!schema.contains(key)) continue;
    if (!is_relaxed())
      return refuse(fmt::format("{}.{}", where, key), "this keyword of JSON Schema cannot be enforced here");
    schema.erase(key);
  }
  const auto unique = schema.find("uniqueItems");
  if (unique == schema.end()) return {};
  if (*unique == true && !is_relaxed())
    return refuse(where + ".uniqueItems", "this keyword of JSON Schema cannot be enforced here");
  schema.erase("uniqueItems");
  return {};
}

// Siblings of a combinator that assert something would be passed over.
Status Preparer::check_siblings(Json& schema, const std::string& keyword, const std::string& where) const {
  std::vector<std::string> asserting;
  for (const auto& [key, value] : schema.items()) {
    const bool is_combinator = is_among(key, kCombinators) && key != keyword;
    if (is_combinator || is_among(key, kObject) || is_among(key, kArray) || is_among(key, kString) ||
        is_among(key, kNumber))
      asserting.push_back(key);
  }
  if (asserting.empty()) return {};
  if (!is_relaxed())
    return refuse(where + "." + asserting.front(), "{} beside {} cannot be enforced", asserting.front(), keyword);
  for (const std::string& key : asserting) schema.erase(key);
  return {};
}

Status Preparer::check_ref(const Json& ref, const std::string& where) const {
  if (!ref.is_string()) return refuse(where, "expected a string");
  const std::string& text = ref.get_ref<const std::string&>();
  if (!text.starts_with("#/") || text.find_first_of("~%") != std::string::npos)
    return refuse(where, "only references within the schema, like \"#/$defs/Name\", are supported");
  const Json* at = &root_;
  for (size_t begin = 2; begin <= text.size();) {
    const size_t end = std::min(text.find('/', begin), text.size());
    const auto found = at->is_object() ? at->find(text.substr(begin, end - begin)) : at->end();
    if (!at->is_object() || found == at->end()) return refuse(where, "leads nowhere");
    at = &*found;
    begin = end + 1;
  }
  return {};
}

Status Preparer::prepare_each(Json& schemas, const std::string& where, int depth) {
  if (schemas.is_array()) {
    for (size_t i = 0; i < schemas.size(); ++i) {
      GALE_ASSIGN(schemas[i], prepare(schemas[i], fmt::format("{}[{}]", where, i), depth + 1));
    }
    return {};
  }
  if (!schemas.is_object()) return refuse(where, "expected an object of schemas");
  for (auto& [name, schema] : schemas.items()) {
    GALE_ASSIGN(schema, prepare(schema, where + "." + name.substr(0, 60), depth + 1));
  }
  return {};
}

Status Preparer::prepare_at(Json& schema, const char* key, const std::string& where, int depth) {
  if (!schema.contains(key)) return {};
  return prepare_each(schema[key], where + "." + key, depth);
}

// A type beside alternatives says nothing new if each of them has one that fits; otherwise it is refused.
bool branches_have_type(const Json& branches, const Json& type) {
  return std::all_of(branches.begin(), branches.end(), [&](const Json& branch) {
    if (!branch.is_object()) return false;
    const auto own = branch.find("type");
    if (own == branch.end()) return false;
    return *own == type || (text_of(*own) == "integer" && text_of(type) == "number") ||
           (type.is_array() && std::find(type.begin(), type.end(), *own) != type.end());
  });
}

Status Preparer::prepare_combinator(Json& schema, const std::string& keyword, const std::string& where, int depth) {
  Json& branches = schema[keyword];
  const std::string place = where + "." + keyword;
  if (!branches.is_array() || branches.empty()) return refuse(place, "expected a list of at least one schema");
  if (keyword == "allOf" && branches.size() > 1) {
    if (!is_relaxed()) return refuse(place, "allOf with several schemas cannot be enforced");
    schema = Json::object();
    return {};
  }
  GALE_TRY(prepare_each(branches, place, depth));
  if (!schema.contains("type")) return {};
  if (!branches_have_type(branches, schema["type"]) && !is_relaxed())
    return refuse(where + ".type", "type beside {} is only supported if each of the alternatives names its type",
                  keyword);
  schema.erase("type");
  return {};
}

Status Preparer::note_choices(const Json& values, const std::string& where) {
  num_choice_bytes_ += dump_json(values).size();
  if (num_choice_bytes_ <= kMaxChoiceBytes) return {};
  return refuse(where, "the values to choose from have more than {} bytes in all", kMaxChoiceBytes);
}

// enum and const become an enum of the values that the type allows.
Status Preparer::prepare_choice(Json& schema, const std::string& where) {
  const bool has_enum = schema.contains("enum");
  const std::string place = where + (has_enum ? ".enum" : ".const");
  Json values = has_enum ? schema["enum"] : Json::array({schema["const"]});
  if (!values.is_array()) return refuse(place, "expected a list");
  GALE_TRY(check_siblings(schema, has_enum ? "enum" : "const", where));
  GALE_TRY(note_choices(values, place));
  Json kept = Json::array();
  for (const Json& value : values)
    if (!schema.contains("type") || matches_type(value, schema["type"])) kept.push_back(value);
  if (kept.empty() && !is_relaxed()) return refuse(place, "no value of this list has the type that the schema demands");
  schema.erase("const");
  schema.erase("enum");
  if (kept.empty()) return {};
  schema = Json::object({{"enum", std::move(kept)}});
  return {};
}

// A schema without type whose keywords speak of one kind of value means that kind.
Status Preparer::infer_type(Json& schema, const std::string& where) const {
  if (schema.contains("type")) return {};
  const std::array<std::pair<const char*, const Keywords*>, 4> kinds = {
      {{"object", &kObject}, {"array", &kArray}, {"string", &kString}, {"number", &kNumber}}};
  std::optional<std::string> type;
  for (const auto& [name, keywords] : kinds) {
    const bool speaks =
        std::any_of(keywords->begin(), keywords->end(), [&](auto key) { return schema.contains(std::string(key)); });
    if (!speaks) continue;
    if (type && !is_relaxed())
      return refuse(where, "keywords of type {} and of type {} need a type beside them", *type, name);
    if (!type) type = name;
  }
  if (type) schema["type"] = *type;
  return {};
}

Result<int64_t> Preparer::count_at(const Json& schema, const char* key, int64_t otherwise,
                                   const std::string& where) const {
  const auto found = schema.find(key);
  if (found == schema.end()) return otherwise;
  const bool is_count = matches_type(*found, "integer") && found->get<double>() >= 0 && found->get<double>() < 1e15;
  if (!is_count) return refuse(where + "." + key, "expected a count");
  const auto count = static_cast<int64_t>(found->get<double>());
  if (count > kMaxCount && !is_relaxed())
    return refuse(where + "." + key, "{} is more than the {} that can be enforced", count, kMaxCount);
  return count;
}

Status Preparer::prepare_required(Json& schema, const std::string& where) const {
  if (!schema.contains("required")) return {};
  const Json required = schema["required"];
  if (!required.is_array()) return refuse(where + ".required", "expected a list of names");
  for (const Json& name : required) {
    if (!name.is_string()) return refuse(where + ".required", "expected a list of names");
    const std::string& key = name.get_ref<const std::string&>();
    if (schema.contains("properties") && schema["properties"].contains(key)) continue;
    const Json additional = schema.value("additionalProperties", Json(true));
    if (additional == false)
      return refuse(where + ".required", "\"{}\" is required, but no property of this name is allowed",
                    key.substr(0, 60));
    if (!schema.contains("properties")) schema["properties"] = Json::object();
    schema["properties"][key] = additional == true ? Json::object() : additional;
  }
  return {};
}

// xgrammar keeps the names of declared properties from other properties only where they are written as they are.
Status Preparer::close_odd_names(Json& schema, const std::string& where) const {
  const auto rest = schema.find("additionalProperties");
  if (rest == schema.end() || *rest == false || !schema.contains("properties")) return {};
  const auto needs_more = [](unsigned char c) { return c < 0x20 || c >= 0x7f || c == '"' || c == '\\'; };
  bool has_odd_names = false;
  for (const auto& [name, value] : schema["properties"].items())
    has_odd_names = has_odd_names || std::any_of(name.begin(), name.end(), needs_more);
  if (!has_odd_names) return {};
  if (*rest != true && !rest->empty() && !is_relaxed())
    return refuse(
        where + ".additionalProperties",
        "further properties cannot be enforced beside names with quotes, backslashes or letters beyond ASCII");
  *rest = false;
  return {};
}

Status Preparer::prepare_name_patterns(Json& schema, const std::string& where, int depth) {
  GALE_TRY(prepare_at(schema, "patternProperties", where, depth));
  if (!schema.contains("patternProperties")) return {};
  Json prepared = Json::object();
  for (const auto& [pattern, value] : schema["patternProperties"].items()) {
    if (asks_for_escapes(pattern))
      return refuse(where + ".patternProperties",
                    "quotes, backslashes and control characters in a pattern cannot be enforced");
    prepared[with_counted_options(pattern)] = value;
  }
  schema["patternProperties"] = std::move(prepared);
  return {};
}

Status Preparer::prepare_object(Json& schema, const std::string& where, int depth) {
  if (const auto rest = schema.find("unevaluatedProperties");
      rest != schema.end()) {  // the same, where nothing is combined
    if (!schema.contains("additionalProperties")) schema["additionalProperties"] = *rest;
    schema.erase("unevaluatedProperties");
  }
  const bool has_names = schema.contains("patternProperties") || schema.contains("propertyNames");
  const bool is_mixed = has_names && (schema.contains("properties") || schema.contains("required"));
  const bool is_both = schema.contains("patternProperties") &&
                       (schema.contains("propertyNames") || schema["patternProperties"].size() != 1);
  if (is_mixed || is_both) {
    if (!is_relaxed())
      return refuse(where + (schema.contains("patternProperties") ? ".patternProperties" : ".propertyNames"),
                    "only one pattern of names, and no declared properties beside it, can be enforced");
    schema.erase("patternProperties");
    schema.erase("propertyNames");
  }
  GALE_TRY(prepare_at(schema, "properties", where, depth));
  GALE_TRY(prepare_name_patterns(schema, where, depth));
  for (const char* key : {"additionalProperties", "propertyNames"}) {
    if (!schema.contains(key) || schema[key].is_boolean()) continue;
    GALE_ASSIGN(schema[key], prepare(schema[key], where + "." + key, depth + 1));
  }
  GALE_TRY(prepare_required(schema, where));
  GALE_TRY(close_odd_names(schema, where));
  GALE_ASSIGN(const int64_t least, count_at(schema, "minProperties", 0, where));
  GALE_ASSIGN(const int64_t most, count_at(schema, "maxProperties", kMaxCount, where));
  if (least > most) return refuse(where + ".minProperties", "more than maxProperties");
  const bool is_open = schema.value("properties", Json::object()).empty() && !schema.contains("patternProperties");
  const bool has_free_names =
      is_open || schema.contains("patternProperties") || schema.contains("additionalProperties");
  const bool counts_names = has_free_names && schema.value("additionalProperties", Json(true)) != false;
  const auto num_required = static_cast<int64_t>(schema.value("required", Json::array()).size());
  if (least > std::max<int64_t>(1, num_required) && counts_names && !is_relaxed())
    return refuse(where + ".minProperties",
                  "more than 1 cannot be enforced where names that are not declared may repeat");
  if (is_open && !schema.contains("additionalProperties")) schema["additionalProperties"] = true;
  return {};
}

Status Preparer::prepare_array(Json& schema, const std::string& where, int depth) {
  if (schema.contains("items") && schema["items"].is_array()) {   // tuples as drafts before 2020-12 wrote them
    schema["prefixItems"] = schema["items"];
    schema.erase("items");
    if (schema.contains("additionalItems")) schema["items"] = schema["additionalItems"];
  }
  schema.erase("additionalItems");
  if (schema.contains("items") && !schema["items"].is_boolean()) {
    GALE_ASSIGN(schema["items"], prepare(schema["items"], where + ".items", depth + 1));
  }
  GALE_TRY(prepare_at(schema, "prefixItems", where, depth));
  GALE_ASSIGN(const int64_t least, count_at(schema, "minItems", 0, where));
  GALE_ASSIGN(const int64_t most, count_at(schema, "maxItems", kMaxCount, where));
  if (least > most) return refuse(where + ".minItems", "more than maxItems");
  const auto num_fixed = static_cast<int64_t>(schema.value("prefixItems", Json::array()).size());
  if (!schema.contains("items") && (num_fixed == 0 || least > num_fixed)) schema["items"] = Json::object();
  return {};
}

Status Preparer::prepare_string(Json& schema, const std::string& where) const {
  if (const auto format = schema.find("format"); format != schema.end()) {
    const std::string name = format->is_string() ? format->get<std::string>() : "";
    if (!is_among(name, kFormats)) {
      if (!is_among(name, kHarmlessFormats) && !is_relaxed())
        return refuse(where + ".format", "the format \"{}\" cannot be enforced; those that can: {}", name.substr(0, 60),
                      fmt::join(kFormats, ", "));
      schema.erase("format");
    }
  }
  if (schema.contains("pattern") && !schema["pattern"].is_string())
    return refuse(where + ".pattern", "expected a string");
  if (schema.contains("pattern") && asks_for_escapes(schema["pattern"].get_ref<const std::string&>())) {
    if (!is_relaxed())
      return refuse(where + ".pattern", "quotes, backslashes and control characters in a pattern cannot be enforced");
    schema.erase("pattern");
  }
  const bool has_length = schema.contains("minLength") || schema.contains("maxLength");
  const int num_rules =
      (schema.contains("format") ? 1 : 0) + (schema.contains("pattern") ? 1 : 0) + (has_length ? 1 : 0);
  if (num_rules > 1) {
    if (!is_relaxed())
      return refuse(where + (has_length ? (schema.contains("minLength") ? ".minLength" : ".maxLength") : ".format"),
                    "only one of format, pattern and length limits of a string can be enforced");
    for (const char* key : {"minLength", "maxLength", "format"}) schema.erase(key);
  }
  if (schema.contains("format")) {
    const std::string pattern = pattern_of_format(schema["format"].get_ref<const std::string&>());
    if (!pattern.empty()) {
      schema["pattern"] = pattern;
      schema.erase("format");
    }
  }
  if (schema.contains("pattern"))
    schema["pattern"] = with_counted_options(schema["pattern"].get_ref<const std::string&>());
  if (!schema.contains("minLength") && !schema.contains("maxLength")) return {};
  GALE_ASSIGN(const int64_t least, count_at(schema, "minLength", 0, where));
  GALE_ASSIGN(const int64_t most, count_at(schema, "maxLength", kMaxCount, where));
  if (least > most) return refuse(where + ".minLength", "more than maxLength");
  // As a pattern: there characters are those of JSON, escapes included, and control characters do not stand bare.
  const std::string upper = schema.contains("maxLength") && most <= kMaxCount ? fmt::format("{}", most) : "";
  schema["pattern"] = fmt::format("^[\\s\\S]{{{},{}}}$", std::min(least, kMaxCount), upper);
  schema.erase("minLength");
  schema.erase("maxLength");
  return {};
}

Status Preparer::prepare_number(Json& schema, bool is_integer, const std::string& where) const {
  if (schema.contains("format")) schema.erase("format");
  for (const std::string_view keyword : kNumber) {
    const std::string key(keyword);
    if (!schema.contains(key)) continue;
    if (!schema[key].is_number()) return refuse(fmt::format("{}.{}", where, key), "expected a number");
    const bool is_unsupported = key == "multipleOf" && !is_integer;
    if (!is_unsupported) continue;
    if (!is_relaxed()) return refuse(where + ".multipleOf", "multipleOf can be enforced for integers only");
    schema.erase(key);
  }
  if (is_relaxed()) schema.erase("multipleOf");   // beside bounds not every one can be enforced
  return {};
}

Status Preparer::prepare_types(Json& schema, const std::string& where, int depth) {
  if (!schema.contains("type")) return {};
  const Json type = schema["type"];
  const Json types = type.is_array() ? type : Json::array({type});
  if (types.empty()) return refuse(where + ".type", "expected at least one type");
  for (const Json& one : types) {
    const std::string_view name = text_of(one);
    if (name == "object") GALE_TRY(prepare_object(schema, where, depth));
    else if (name == "array") GALE_TRY(prepare_array(schema, where, depth));
    else if (name == "string") GALE_TRY(prepare_string(schema, where));
    else if (name == "number" || name == "integer") GALE_TRY(prepare_number(schema, name == "integer", where));
    else if (name != "boolean" && name != "null")
      return refuse(where + ".type", "expected object, array, string, number, integer, boolean or null");
  }
  return {};
}

Result<Json> Preparer::prepare(const Json& given, const std::string& where, int depth) {
  if (++num_nodes_ > kMaxNodes) return refuse(root_where_, "a schema of more than {} parts", kMaxNodes);
  if (depth > kMaxDepth) return refuse(where, "more than {} levels", kMaxDepth);
  if (given == true) return Json::object();
  if (given == false) return refuse(where, "the schema false allows no value at all");
  if (!given.is_object()) return refuse(where, "expected a schema object");
  Json schema = given;
  GALE_TRY(drop_unsupported(schema, where));
  if (depth > 0 && schema.contains("$id") && !is_relaxed())
    return refuse(where + ".$id", "references within a part that has a name of its own cannot be followed");
  for (const char* key : {"$defs", "definitions"}) GALE_TRY(prepare_at(schema, key, where, depth));
  if (schema.contains("$ref")) {
    GALE_TRY(check_ref(schema["$ref"], where + ".$ref"));
    schema.erase("type");
    GALE_TRY(check_siblings(schema, "$ref", where));
    return schema;
  }
  if (schema.contains("enum") || schema.contains("const")) {
    GALE_TRY(prepare_choice(schema, where));
    if (schema.contains("enum")) return schema;
  }
  for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
    if (!schema.contains(keyword)) continue;
    GALE_TRY(check_siblings(schema, keyword, where));
    GALE_TRY(prepare_combinator(schema, keyword, where, depth));
    return schema;
  }
  GALE_TRY(infer_type(schema, where));
  GALE_TRY(prepare_types(schema, where, depth));
  return schema;
}

}  // namespace

Result<Json> prepare_schema(const Json& schema, const std::string& where, SchemaDemand demand) {
  return Preparer(schema, where, demand).prepare(schema, where, 0);
}

}  // namespace gale
