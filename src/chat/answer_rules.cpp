#include "chat/answer_rules.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "chat/argument_value.h"
#include "chat/chat_template.h"
#include "chat/json_schema.h"

namespace gale {
namespace {

Json token(const OutputTag& tag) { return {{"type", "token"}, {"token", tag.id}}; }
Json text(const std::string& value) { return {{"type", "const_string"}, {"value", value}}; }
Json grammar(const char* ebnf) { return {{"type", "grammar"}, {"grammar", ebnf}}; }
Json sequence(Json elements) { return {{"type", "sequence"}, {"elements", std::move(elements)}}; }
Json optional(Json content) { return {{"type", "optional"}, {"content", std::move(content)}}; }
Json star(Json content) { return {{"type", "star"}, {"content", std::move(content)}}; }
Json one_of(Json elements) {
  return elements.size() == 1 ? elements[0] : Json{{"type", "or"}, {"elements", std::move(elements)}};
}
Json any_text() { return grammar("root ::= [^]*"); }
Json json_value(Json schema) {
  return {{"type", "json_schema"}, {"json_schema", std::move(schema)}, {"max_whitespace_cnt", kMaxJsonBlanks}};
}

class CallGrammar {
 public:
  CallGrammar(const OutputFormat& format, CallDialect dialect)
      : format_(format), newline_(dialect == CallDialect::kLines ? "\n" : "") {}

  [[nodiscard]] Result<Json> call(const Json& tool, const std::string& where) const;
  // Calls of these tools, one after the other.
  [[nodiscard]] Json calls(Json alternatives, bool single) const {
    Json one = one_of(std::move(alternatives));
    if (single) return one;
    Json next = newline_.empty() ? one : sequence({text(newline_), one});
    return sequence({std::move(one), star(std::move(next))});
  }
  // What stands before an answer where the model begins it on a line of its own.
  [[nodiscard]] Json answer(Json content) const {
    return newline_.empty() ? content : sequence({optional(text(newline_)), std::move(content)});
  }

 private:
  void add_newline(Json& elements) const {
    if (!newline_.empty()) elements.push_back(text(newline_));
  }
  [[nodiscard]] Json argument(Json key, Json value) const {
    Json elements = {token(format_.arg_key_open), std::move(key), token(format_.arg_key_close)};
    add_newline(elements);
    elements.insert(elements.end(), {token(format_.arg_value_open), std::move(value), token(format_.arg_value_close)});
    add_newline(elements);
    return sequence(std::move(elements));
  }

  const OutputFormat& format_;
  const std::string newline_;
};

// A string argument is written as it is; of its schema a list of values, a pattern and the longest length count.
Json string_argument(const Json& schema) {
  Json choices = schema.value("enum", Json::array());
  if (schema.contains("const")) choices.push_back(schema["const"]);
  Json texts = Json::array();
  for (const Json& choice : choices) {
    if (choice.is_string()) texts.push_back(text(choice.get<std::string>()));
    if (choice.is_null()) texts.push_back(text("null"));
  }
  if (!texts.empty()) return one_of(std::move(texts));
  return any_text();
}

Json with_definitions(Json schema, const Json& parameters) {
  for (const char* key : {"$defs", "definitions"})
    if (parameters.contains(key)) schema[key] = parameters[key];
  return schema;
}

bool requires_property(const Json& parameters, const std::string& name) {
  const auto required = parameters.find("required");
  return required != parameters.end() && required->is_array() &&
         std::find(required->begin(), required->end(), name) != required->end();
}

Result<Json> CallGrammar::call(const Json& tool, const std::string& where) const {
  const Json function = tool.value("function", tool);
  const std::string name = function.value("name", std::string());
  const bool is_strict = function.value("strict", Json()) == true;
  const ArgumentTypes types(Json::array({tool}));
  Json parameters = function.value("parameters", Json());
  if (!parameters.is_object()) parameters = Json::object({{"properties", Json::object()}});   // absent: no arguments
  const bool says_nothing = !parameters.contains("properties");
  parameters["type"] = "object";
  const std::string place = where + ".function.parameters";
  GALE_ASSIGN(const Json prepared,
              prepare_schema(parameters, place, is_strict ? SchemaDemand::kAll : SchemaDemand::kShape));
  Json elements = {token(format_.tool_call_open), text(name)};
  add_newline(elements);
  const Json properties = prepared.value("properties", Json::object());
  for (const auto& [key, schema] : properties.items()) {
    const bool is_string = types.type_of(name, key) != ArgumentType::kOther;
    Json part =
        argument(text(key), is_string ? string_argument(schema) : json_value(with_definitions(schema, prepared)));
    elements.push_back(requires_property(prepared, key) ? std::move(part) : optional(std::move(part)));
  }
  const Json additional = prepared.value("additionalProperties", Json(false));
  if (additional != false && (says_nothing || parameters.contains("additionalProperties"))) {
    const Json schema = additional == true ? Json::object() : with_definitions(additional, prepared);
    elements.push_back(star(argument(grammar("root ::= [^<>\\n]+"), json_value(schema))));
  }
  elements.push_back(token(format_.tool_call_close));
  return sequence(std::move(elements));
}

}  // namespace

CallDialect detect_call_dialect(const ChatTemplate* chat_template) {
  if (chat_template == nullptr) return CallDialect::kCompact;
  const Json call = {
      {"id", "c"}, {"type", "function"}, {"function", {{"name", "probe"}, {"arguments", {{"key", "value"}}}}}};
  ChatInput input;
  input.messages = Json::array({{{"role", "user"}, {"content", "a"}},
                                {{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array({call})}}});
  const auto rendered = chat_template->render(input);
  if (!rendered) return CallDialect::kCompact;  // a template that knows no calls; there will be no call grammars either
  std::string text;
  for (const PromptSegment& segment : *rendered) text += segment.text;
  return text.find("<tool_call>probe\n") == std::string::npos ? CallDialect::kCompact : CallDialect::kLines;
}

Result<std::string> answer_grammar(const AnswerRules& rules, const Json& tools, const OutputFormat& format,
                                   CallDialect dialect) {
  const CallGrammar grammar(format, dialect);
  Json alternatives = Json::array();
  if (rules.calls != CallRule::kNone) {
    if (!format.has_tool_calls())
      return fail_param(ErrorCode::kInvalidArgument, "tools", "tools: this model writes no tool calls");
    for (size_t i = 0; i < tools.size(); ++i) {
      const Json function = tools[i].value("function", tools[i]);
      if (!rules.only_tool.empty() && function.value("name", Json()) != rules.only_tool) continue;
      GALE_ASSIGN(Json call, grammar.call(tools[i], fmt::format("tools[{}]", i)));
      alternatives.push_back(std::move(call));
    }
  }
  Json answers = Json::array();
  if (!rules.text_format.is_null() && rules.calls != CallRule::kRequired) answers.push_back(rules.text_format);
  if (!alternatives.empty()) {
    Json calls = grammar.calls(std::move(alternatives), rules.single_call);
    const bool has_free_text = rules.calls == CallRule::kFree && rules.text_format.is_null();
    answers.push_back(has_free_text ? sequence({any_text(), optional(std::move(calls))}) : std::move(calls));
  }
  const Json tag = {{"type", "structural_tag"}, {"format", grammar.answer(one_of(std::move(answers)))}};
  return dump_json(tag);
}

}  // namespace gale
