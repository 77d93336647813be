#include "chat/output_parser_cases.h"

namespace gale {
namespace {

constexpr Start kThinking = Start::kReasoning;
constexpr Start kPlain = Start::kContent;

// An argument of the compact dialect.
std::string argument(const std::string& key, const std::string& value) {
  return "<arg_key>" + key + "</arg_key><arg_value>" + value + "</arg_value>";
}

std::string call(const std::string& name, const std::string& arguments) {
  return "<tool_call>" + name + arguments + "</tool_call>";
}

// One call of `write` (text: string) or `search` (any: no type) with one argument.
OutputCase string_case(const std::string& name, const std::string& value, const std::string& json) {
  return {name, call("write", argument("text", value)), "", "", {{"write", R"({"text": )" + json + "}"}}};
}
OutputCase any_case(const std::string& name, const std::string& value, const std::string& json) {
  return {name, call("search", argument("any", value)), "", "", {{"search", R"({"any": )" + json + "}"}}};
}
OutputCase typed_case(const std::string& name, const std::string& key, const std::string& value,
                      const std::string& json) {
  return {name, call("search", argument(key, value)), "", "", {{"search", "{\"" + key + "\": " + json + "}"}}};
}

std::vector<OutputCase> reasoning_cases() {
  return {
      {"content_only", "Hello there.", "", "Hello there."},
      {"empty", "", "", ""},
      {"reasoning_then_content", "Let me see.</think>Hi!", "Let me see.", "Hi!", {}, kThinking},
      {"reasoning_then_newline_content", "R</think>\nHi!", "R", "Hi!", {}, kThinking},
      {"only_one_newline_is_stripped", "R</think>\n\nHi!", "R", "\nHi!", {}, kThinking},
      {"reasoning_never_ends", "thinking on and", "thinking on and", "", {}, kThinking},
      {"reasoning_keeps_blanks", " \n a \n</think>b", " \n a \n", "b", {}, kThinking},
      {"empty_reasoning", "</think>b", "", "b", {}, kThinking},
      {"own_think_block", "<think>R</think>A", "R", "A"},
      {"own_think_block_after_newline", "\n<think>R</think>\nA", "R", "A"},
      {"own_empty_think_block", "\n<think></think>\nA", "", "A"},
      {"two_think_blocks", "<think>R</think>\n<think>S</think>A", "RS", "A"},
      {"think_within_reasoning_vanishes", "a<think>b</think>c", "ab", "c", {}, kThinking},
      {"late_think_tags_vanish", "A<think>B</think>C", "", "ABC"},
      {"stray_close_vanishes", "A</think>B", "", "AB"},
      {"text_like_think_is_text", "a ~<think> b ~</think>c", "", "a <think> b </think>c"},
      {"text_like_close_in_reasoning", "a ~</think>b</think>c", "a </think>b", "c", {}, kThinking},
      {"content_ends_in_blanks", "A \n", "", "A \n"},
      {"content_is_blank", " \n", "", " \n"},
      {"content_with_inner_blanks", "A  \n\n  B", "", "A  \n\n  B"},
      {"unicode", "想一想</think>你好 👋🏽", "想一想", "你好 👋🏽", {}, kThinking},
  };
}

std::vector<OutputCase> call_cases() {
  const std::string oslo = R"({"city": "Oslo", "days": 2})";
  const std::string compact = call("get_weather", argument("city", "Oslo") + argument("days", "2"));
  const std::string newlines =
      "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n"
      "<arg_value>2</arg_value>\n</tool_call>";
  return {
      {"compact_call", compact, "", "", {{"get_weather", oslo}}},
      {"newline_call", newlines, "", "", {{"get_weather", oslo}}},
      {"call_after_reasoning", "need it</think>" + compact, "need it", "", {{"get_weather", oslo}}, kThinking},
      {"call_ends_reasoning", "need it" + compact, "need it", "", {{"get_weather", oslo}}, kThinking},
      {"blanks_before_call", "R</think>\n" + newlines, "R", "", {{"get_weather", oslo}}, kThinking},
      {"text_before_call", "I'll look.\n" + compact, "", "I'll look.", {{"get_weather", oslo}}},
      {"text_after_call", compact + "\nDone.", "", "Done.", {{"get_weather", oslo}}},
      {"blanks_after_call", compact + "\n", "", "", {{"get_weather", oslo}}},
      {"two_calls", compact + "\n" + call("get_time", ""), "", "", {{"get_weather", oslo}, {"get_time", "{}"}}},
      {"same_call_twice", compact + compact, "", "", {{"get_weather", oslo}, {"get_weather", oslo}}},
      {"no_arguments", call("get_time", ""), "", "", {{"get_time", "{}"}}},
      {"no_arguments_newline", "<tool_call>get_time\n</tool_call>", "", "", {{"get_time", "{}"}}},
      {"name_with_blanks", "<tool_call>\n get_time \n</tool_call>", "", "", {{"get_time", "{}"}}},
      {"unknown_tool",
       call("nope", argument("a", "1") + argument("b", "x")),
       "",
       "",
       {{"nope", R"({"a": 1, "b": "x"})"}}},
      {"key_with_blanks", call("write", argument(" text\n", "x")), "", "", {{"write", R"({"text": "x"})"}}},
      {"key_with_quotes", call("write", argument("a\"b", "x")), "", "", {{"write", R"({"a\"b": "x"})"}}},
      {"text_between_arguments",
       call("write", "\njunk" + argument("text", "x") + "junk"),
       "",
       "",
       {{"write", R"({"text": "x"})"}}},
      {"repeated_key",
       call("write", argument("text", "x") + argument("text", "y")),
       "",
       "",
       {{"write", R"({"text": "x"})"}}},
      {"key_without_value", call("write", "<arg_key>text</arg_key>"), "", "", {{"write", "{}"}}},
      {"key_not_closed",
       call("write", "<arg_key>text<arg_value>x</arg_value>"),
       "",
       "",
       {{"write", R"({"text": "x"})"}}},
      {"value_without_key", call("write", "<arg_value>x</arg_value>"), "", "", {{"write", "{}"}}},
      {"no_name", "<tool_call></tool_call>", "", "<tool_call></tool_call>"},
      {"no_name_but_arguments", "<tool_call>" + argument("a", "1") + "</tool_call>!", "",
       "<tool_call>" + argument("a", "1") + "</tool_call>!"},
      {"stray_tool_tags", "a</tool_call>b<arg_key>c", "", "a</tool_call>b<arg_key>c"},
      {"text_like_call", "~<tool_call>f~</tool_call>", "", "<tool_call>f</tool_call>"},
      {"calls_not_parsed", "A" + call("get_time", ""), "", "A<tool_call>get_time</tool_call>", {}, kPlain, Tools::kOff},
      {"calls_not_parsed_in_reasoning", "<tool_call>x</think>y", "<tool_call>x", "y", {}, kThinking, Tools::kOff},
      {"think_after_call_vanishes", compact + "<think>x", "", "x", {{"get_weather", oslo}}},
  };
}

std::vector<OutputCase> value_cases() {
  return {
      string_case("string_with_blanks", "  a\n\n b  ", R"("  a\n\n b  ")"),
      string_case("string_that_looks_like_a_number", "42", R"("42")"),
      string_case("string_that_looks_like_json", R"({"a": [1]})", R"("{\"a\": [1]}")"),
      string_case("string_that_says_null", "null", R"("null")"),
      string_case("empty_string", "", R"("")"),
      string_case("string_with_less_than", "if (a < b && c <d>) <x", R"("if (a < b && c <d>) <x")"),
      string_case("string_with_text_like_the_end", "a ~</arg_value> b", R"("a </arg_value> b")"),
      string_case("string_with_tags", "<think><tool_call></tool_call><arg_key></think>",
                  R"("<think><tool_call></tool_call><arg_key></think>")"),
      string_case("string_with_control_characters", "\"\\\t\x01/", R"("\"\\\u0009\u0001/")"),
      string_case("string_in_chinese", "奥斯陆\n😀", R"("奥斯陆\n😀")"),
      any_case("integer", "42", "42"),
      any_case("integer_with_blanks", "\n 42 \n", "42"),
      any_case("integer_beyond_64_bits", "123456789012345678901234567890", R"("123456789012345678901234567890")"),
      any_case("integer_of_64_bits_keeps_its_digits", "18446744073709551615", "18446744073709551615"),
      any_case("object_with_a_key_twice", R"({"a": 1, "a": 2})", R"("{\"a\": 1, \"a\": 2}")"),
      any_case("float_keeps_its_form", "1.50", "1.50"),
      any_case("not_a_number", "007", R"("007")"),
      any_case("truth", "true", "true"),
      any_case("python_truth", "True", "true"),
      any_case("python_none", " None", "null"),
      any_case("words", "New York", R"("New York")"),
      any_case("json_string", R"("quoted")", R"("quoted")"),
      any_case("nested_json", R"({"a": {"b": [1, {"c": "<d>"}, null]}})", R"({"a": {"b": [1, {"c": "<d>"}, null]}})"),
      any_case("python_dict", R"({'a': True, 'b': ['x', "it's", None,], 'c': (1, 2.5)})",
               R"({"a":true,"b":["x","it's",null],"c":[1,2.5]})"),
      any_case("python_escapes", R"(['\n\x41\u00e9\'', '\q'])", R"(["\nAé'","\\q"])"),
      any_case("broken_json", R"({"a": )", R"("{\"a\": ")"),
      any_case("broken_python", "{'a': b}", R"("{'a': b}")"),
      any_case("untyped_empty", "", R"("")"),
      typed_case("declared_integer", "count", "7", "7"),
      typed_case("optional_string", "maybe", "nullable", R"("nullable")"),
      typed_case("optional_string_none", "maybe", "None", "null"),
      typed_case("optional_string_prefix", "maybe", "nul", R"("nul")"),
      typed_case("string_by_enum", "unit", "1", R"("1")"),
      typed_case("string_by_reference", "referred", "1", R"("1")"),
      typed_case("type_list_with_string", "either", "1", R"("1")"),
      typed_case("object_type", "filter", R"({"x": 1})", R"({"x": 1})"),
  };
}

std::vector<OutputCase> unfinished_cases() {
  return {
      {"stops_in_known_name", "<tool_call>get_time", "", "", {{"get_time", "{}"}}},
      {"stops_in_unknown_name", "<tool_call>get_ti", "", ""},
      {"stops_after_name", "<tool_call>get_ti\n", "", "", {{"get_ti", "{}"}}},
      {"stops_in_key", "<tool_call>write<arg_key>te", "", "", {{"write", "{}"}}},
      {"stops_in_string",
       "<tool_call>write<arg_key>text</arg_key><arg_value>ab\"",
       "",
       "",
       {{"write", R"({"text": "ab\""})"}}},
      {"stops_before_string", "<tool_call>write<arg_key>text</arg_key><arg_value>", "", "", {{"write", "{}"}}},
      {"stops_in_number",
       "<tool_call>search" + argument("any", "1") + "<arg_key>count</arg_key><arg_value>12",
       "",
       "",
       {{"search", R"({"any": 1})"}}},
      {"stops_in_possible_null",
       "<tool_call>search<arg_key>maybe</arg_key><arg_value>nul",
       "",
       "",
       {{"search", R"({"maybe": "nul"})"}}},
      {"stops_before_call_close", "<tool_call>write" + argument("text", "x"), "", "", {{"write", R"({"text": "x"})"}}},
      {"stops_in_second_call", call("get_time", "") + "<tool_call>get", "", "", {{"get_time", "{}"}}},
  };
}

}  // namespace

std::vector<OutputCase> output_cases() {
  std::vector<OutputCase> all;
  for (const auto& group : {reasoning_cases(), call_cases(), value_cases(), unfinished_cases()})
    all.insert(all.end(), group.begin(), group.end());
  return all;
}

Json output_case_tools() {
  return Json::parse(R"([
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
      "city": {"type": "string"}, "days": {"type": "integer"}}}}},
    {"type": "function", "function": {"name": "get_time"}},
    {"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {
      "text": {"type": "string"}, "a\"b": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "search", "parameters": {"type": "object",
      "$defs": {"Name": {"type": "string"}},
      "properties": {
        "any": {}, "count": {"type": "integer"}, "unit": {"enum": ["1", "2"]}, "filter": {"type": "object"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "either": {"type": ["string", "integer"]},
        "referred": {"$ref": "#/$defs/Name"}}}}}
  ])");
}

}  // namespace gale
