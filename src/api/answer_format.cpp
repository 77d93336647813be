#include "api/answer_format.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/json_text.h"
#include "chat/json_schema.h"
#include "chat/optional_groups.h"

namespace gale {
namespace {

constexpr size_t kMaxGrammarBytes = 256 << 10;   // of a schema, pattern or grammar as it is written
constexpr size_t kMaxChoices = 1024;

enum class FormatKind { kJson, kJsonObject, kRegex, kChoice, kEbnf, kStructuralTag };

struct FormatField {
  const char* key;
  FormatKind kind;
};
// Of vLLM's structured_outputs.
constexpr FormatField kStructuredOutputs[] = {
    {"json", FormatKind::kJson},    {"json_object", FormatKind::kJsonObject},
    {"regex", FormatKind::kRegex},  {"choice", FormatKind::kChoice},
    {"grammar", FormatKind::kEbnf}, {"structural_tag", FormatKind::kStructuralTag}};
// On the top level of a request.
constexpr FormatField kTopLevel[] = {
    {"guided_json", FormatKind::kJson},    {"guided_json_object", FormatKind::kJsonObject},
    {"guided_regex", FormatKind::kRegex},  {"guided_choice", FormatKind::kChoice},
    {"guided_grammar", FormatKind::kEbnf}, {"json_schema", FormatKind::kJson},
    {"regex", FormatKind::kRegex},         {"ebnf", FormatKind::kEbnf},
    {"grammar", FormatKind::kEbnf}};

template <class... Args>
tl::unexpected<Error> refuse(const std::string& where, fmt::format_string<Args...> format, Args&&... args) {
  return fail_param(ErrorCode::kInvalidArgument, where, "{}: {}", where,
                    fmt::format(format, std::forward<Args>(args)...));
}

Json json_format(Json schema) {
  return {{"type", "json_schema"}, {"json_schema", std::move(schema)}, {"max_whitespace_cnt", kMaxJsonBlanks}};
}

// A schema as an object, or as JSON text of one.
Result<Json> schema_format(const Json& given, const std::string& where) {
  Json schema = given;
  if (given.is_string()) {
    auto parsed = parse_json(given.get_ref<const std::string&>());
    if (!parsed) return refuse(where, "{}", parsed.error().message);
    schema = *std::move(parsed);
  }
  if (!schema.is_object() && !schema.is_boolean())
    return refuse(where, "expected a JSON schema, got {}", brief(schema));
  if (dump_json(schema).size() > kMaxGrammarBytes)
    return refuse(where, "a schema of more than {} bytes", kMaxGrammarBytes);
  GALE_ASSIGN(Json prepared, prepare_schema(schema, where, SchemaDemand::kAll));
  return json_format(std::move(prepared));
}

Result<Json> choice_format(const Json& given, const std::string& where) {
  const auto is_text = [](const Json& item) { return item.is_string() && !item.get_ref<const std::string&>().empty(); };
  if (!given.is_array() || given.empty() || given.size() > kMaxChoices ||
      !std::all_of(given.begin(), given.end(), is_text))
    return refuse(where, "expected a list of 1 to {} non-empty strings", kMaxChoices);
  Json elements = Json::array();
  for (const Json& choice : given) elements.push_back({{"type", "const_string"}, {"value", choice}});
  if (elements.size() == 1) return elements[0];
  return Json{{"type", "or"}, {"elements", std::move(elements)}};
}

Result<Json> text_format(const Json& given, const std::string& where, const char* type, const char* key) {
  if (!given.is_string() || given.get_ref<const std::string&>().empty())
    return refuse(where, "expected a non-empty string, got {}", brief(given));
  if (given.get_ref<const std::string&>().size() > kMaxGrammarBytes)
    return refuse(where, "more than {} bytes", kMaxGrammarBytes);
  const std::string& text = given.get_ref<const std::string&>();
  const bool is_pattern = std::string_view(type) == "regex";
  return Json{{"type", type}, {key, is_pattern ? with_counted_options(text) : grammar_with_counted_options(text)}};
}

// The older form of structural tags: triggers, and what follows each.
Result<Json> triggered_tags(const Json& given, const std::string& where) {
  const Json triggers = given.value("triggers", Json());
  const Json structures = given.value("structures", Json());
  if (!triggers.is_array() || !structures.is_array())
    return refuse(where, "expected a format, or structures and triggers");
  Json tags = Json::array();
  for (size_t i = 0; i < structures.size(); ++i) {
    const std::string place = fmt::format("{}.structures[{}]", where, i);
    const Json& structure = structures[i];
    if (!structure.is_object() || !structure.contains("begin") || !structure.contains("end"))
      return refuse(place, "expected begin, schema and end");
    GALE_ASSIGN(Json content, schema_format(structure.value("schema", Json(true)), place + ".schema"));
    tags.push_back(
        {{"type", "tag"}, {"begin", structure["begin"]}, {"content", std::move(content)}, {"end", structure["end"]}});
  }
  return Json{{"type", "triggered_tags"}, {"triggers", triggers}, {"tags", std::move(tags)}};
}

// Schemas, patterns and grammars within a format are held to what those that stand alone are held to.
Status prepare_parts(Json& format, const std::string& where) {
  const std::string type = format.is_object() ? std::string(text_of(format.value("type", Json()))) : "";
  const char* const text = type == "regex" ? "pattern" : type == "grammar" ? "grammar" : nullptr;
  if (text != nullptr && format.contains(text)) {
    GALE_ASSIGN(const Json prepared, text_format(format[text], where + "." + text, type.c_str(), text));
    format[text] = prepared[text];
  } else if (format.contains("json_schema")) {
    GALE_ASSIGN(const Json prepared, schema_format(format["json_schema"], where + ".json_schema"));
    format["json_schema"] = prepared["json_schema"];
    if (type == "json_schema") format.emplace("max_whitespace_cnt", kMaxJsonBlanks);
  } else if (format.is_object()) {
    for (auto& [key, part] : format.items()) {
      if (part.is_structured()) GALE_TRY(prepare_parts(part, where + "." + key.substr(0, 60)));
    }
  } else if (format.is_array()) {
    for (size_t i = 0; i < format.size(); ++i) GALE_TRY(prepare_parts(format[i], fmt::format("{}[{}]", where, i)));
  }
  return {};
}

Result<Json> structural_format(const Json& given, const std::string& where) {
  Json tag = given;
  if (given.is_string()) {
    auto parsed = parse_json(given.get_ref<const std::string&>());
    if (!parsed) return refuse(where, "{}", parsed.error().message);
    tag = *std::move(parsed);
  }
  if (!tag.is_object()) return refuse(where, "expected a structural tag, got {}", brief(tag));
  if (dump_json(tag).size() > kMaxGrammarBytes)
    return refuse(where, "a structural tag of more than {} bytes", kMaxGrammarBytes);
  if (!tag.contains("format")) return triggered_tags(tag, where);
  if (!tag["format"].is_object()) return refuse(where + ".format", "expected an object, got {}", brief(tag["format"]));
  GALE_TRY(prepare_parts(tag["format"], where + ".format"));
  return tag["format"];
}

Result<Json> format_of(FormatKind kind, const Json& given, const std::string& where) {
  switch (kind) {
    case FormatKind::kJson: return schema_format(given, where);
    case FormatKind::kJsonObject: {
      if (!given.is_boolean()) return refuse(where, "expected true or false, got {}", brief(given));
      if (given == false) return Json(nullptr);
      return json_format(Json{{"type", "object"}, {"additionalProperties", true}});
    }
    case FormatKind::kRegex: return text_format(given, where, "regex", "pattern");
    case FormatKind::kChoice: return choice_format(given, where);
    case FormatKind::kEbnf: return text_format(given, where, "grammar", "grammar");
    case FormatKind::kStructuralTag: return structural_format(given, where);
  }
  return refuse(where, "unknown");
}

Result<Json> response_format(const Json& given) {
  const std::string where = "response_format";
  if (!given.is_object()) return refuse(where, "expected an object, got {}", brief(given));
  const Json type = given.value("type", Json());
  if (text_of(type) == "text") return Json(nullptr);
  if (text_of(type) == "json_object") return format_of(FormatKind::kJsonObject, Json(true), where);
  if (text_of(type) == "structural_tag") return structural_format(given, where);
  if (text_of(type) != "json_schema")
    return refuse(where + ".type", "expected text, json_object, json_schema or structural_tag, got {}", brief(type));
  const Json holder = given.value("json_schema", Json());
  if (!holder.is_object()) return refuse(where + ".json_schema", "expected an object with a schema");
  const Json schema = holder.value("schema", Json());
  if (schema.is_null()) return refuse(where + ".json_schema.schema", "this field is required");
  return schema_format(schema, where + ".json_schema.schema");
}

// Collects what the fields say; two that say something are one too many.
class FormatReader {
 public:
  explicit FormatReader(RequestReader& reader) : reader_(reader) {}

  void take(const std::string& param, Result<Json> format, AnswerRules& rules) {
    if (!format) return reader_.refuse(format.error().param.c_str(), format.error().code, format.error().message);
    if (format->is_null()) return;
    if (!rules.text_format.is_null())
      return reader_.refuse(param.c_str(), ErrorCode::kInvalidArgument,
                            fmt::format("{}: {} already says what form the answer has", param, rules.text_param));
    rules.text_format = *std::move(format);
    rules.text_param = param;
  }
  void read_structured_outputs(AnswerRules& rules) {
    const Json* given = reader_.find("structured_outputs");
    if (given == nullptr) return;
    const std::string where = "structured_outputs";
    if (!given->is_object())
      return reader_.refuse(where.c_str(), ErrorCode::kInvalidArgument, where + ": expected an object");
    for (const char* key : {"whitespace_pattern", "disable_additional_properties", "disable_any_whitespace"}) {
      const Json value = given->value(key, Json());
      if (!value.is_null() && value != false)
        reader_.refuse((where + "." + key).c_str(), ErrorCode::kUnimplemented, where + "." + key + ": not supported");
    }
    for (const auto& [key, kind] : kStructuredOutputs) {
      const Json value = given->value(key, Json());
      if (!value.is_null()) take(where + "." + key, format_of(kind, value, where + "." + key), rules);
    }
  }

 private:
  RequestReader& reader_;
};

}  // namespace

void read_answer_format(RequestReader& reader, AnswerRules& rules) {
  FormatReader formats(reader);
  if (const Json* given = reader.find("response_format"))
    formats.take("response_format", response_format(*given), rules);
  formats.read_structured_outputs(rules);
  for (const auto& [key, kind] : kTopLevel)
    if (const Json* given = reader.find(key)) formats.take(key, format_of(kind, *given, key), rules);
}

}  // namespace gale
