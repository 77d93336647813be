#include "chat/answer_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chat/chat_template.h"

namespace gale {
namespace {

OutputFormat glm_format() {
  OutputFormat format;
  TokenId next = 100;
  for (OutputTag* tag : {&format.think_open, &format.think_close, &format.tool_call_open, &format.tool_call_close,
                         &format.arg_key_open, &format.arg_key_close, &format.arg_value_open, &format.arg_value_close})
    *tag = {next++, "tag"};
  return format;
}

const Json kTools = Json::parse(R"([
  {"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {
    "text": {"type": "string"}, "times": {"type": "integer"}}, "required": ["text"]}}},
  {"type": "function", "function": {"name": "now"}}])");

Json tag_of(const AnswerRules& rules, CallDialect dialect = CallDialect::kCompact) {
  const auto tag = answer_grammar(rules, kTools, glm_format(), dialect);
  EXPECT_TRUE(tag) << tag.error().message;
  const Json parsed = Json::parse(*tag);
  EXPECT_EQ(parsed["type"], "structural_tag");
  return parsed["format"];
}

TEST(AnswerGrammar, a_named_tool_is_one_call_with_its_arguments_in_order) {
  const Json format = tag_of({.calls = CallRule::kRequired, .only_tool = "write", .single_call = true});
  ASSERT_EQ(format["type"], "sequence");
  const Json& parts = format["elements"];
  EXPECT_EQ(parts.front(), Json::parse(R"({"type": "token", "token": 102})"));
  EXPECT_EQ(parts[1]["value"], "write");
  EXPECT_EQ(parts[2]["type"], "sequence") << "required";
  EXPECT_EQ(parts[3]["type"], "optional");
  EXPECT_EQ(parts.back(), Json::parse(R"({"type": "token", "token": 103})"));
  const Json& value = parts[2]["elements"][4];
  EXPECT_EQ(value["type"], "grammar") << "a string argument is plain text";
  EXPECT_EQ(parts[3]["content"]["elements"][4]["json_schema"], Json::parse(R"({"type": "integer"})"));
}

TEST(AnswerGrammar, a_tool_without_parameters_takes_no_arguments) {
  const Json format = tag_of({.calls = CallRule::kRequired, .only_tool = "now", .single_call = true});
  EXPECT_EQ(format["elements"].size(), 3u);
}

TEST(AnswerGrammar, the_dialect_of_lines_has_its_newlines) {
  const Json format =
      tag_of({.calls = CallRule::kRequired, .only_tool = "now", .single_call = true}, CallDialect::kLines);
  EXPECT_EQ(format["elements"][0]["type"], "optional") << "the answer begins on a line of its own";
  EXPECT_EQ(format["elements"][1]["elements"][2]["value"], "\n");
}

TEST(AnswerGrammar, required_calls_may_follow_each_other_unless_forbidden) {
  EXPECT_EQ(tag_of({.calls = CallRule::kRequired})["elements"][1]["type"], "star");
  EXPECT_EQ(tag_of({.calls = CallRule::kRequired, .single_call = true})["type"], "or");
}

TEST(AnswerGrammar, text_and_tools_are_alternatives) {
  const Json text = {{"type", "const_string"}, {"value", "x"}};
  const Json format = tag_of({.text_format = text, .text_param = "response_format", .calls = CallRule::kFree});
  EXPECT_EQ(format["type"], "or");
  EXPECT_EQ(format["elements"][0], text);
  EXPECT_EQ(tag_of({.text_format = text, .calls = CallRule::kRequired})["type"], "sequence")
      << "required: calls and nothing else";
}

TEST(AnswerGrammar, one_free_call_follows_any_text) {
  const Json format = tag_of({.calls = CallRule::kFree, .single_call = true});
  EXPECT_EQ(format["elements"][0]["type"], "grammar");
  EXPECT_EQ(format["elements"][1]["type"], "optional");
}

TEST(AnswerRules, know_when_a_grammar_is_needed) {
  EXPECT_FALSE(AnswerRules{}.need_grammar());
  EXPECT_FALSE(AnswerRules{.calls = CallRule::kFree}.need_grammar());
  EXPECT_TRUE((AnswerRules{.calls = CallRule::kFree, .single_call = true}.need_grammar()));
  EXPECT_TRUE(AnswerRules{.calls = CallRule::kRequired}.need_grammar());
  EXPECT_TRUE((AnswerRules{.text_format = Json::object()}.need_grammar()));
}

TEST(AnswerGrammar, a_model_without_calls_refuses_tools) {
  EXPECT_FALSE(answer_grammar({.calls = CallRule::kRequired}, kTools, OutputFormat{}, CallDialect::kCompact));
}

TEST(CallDialect, is_read_off_the_template) {
  EXPECT_EQ(detect_call_dialect(nullptr), CallDialect::kCompact);
  const auto built_in = ChatTemplate::load(GALE_SOURCE_DIR "/models/nano-flash");
  ASSERT_TRUE(built_in);
  EXPECT_EQ(detect_call_dialect(built_in->get()), CallDialect::kCompact);
  const auto lines = ChatTemplate::parse(
      "{% for m in messages %}{% for c in m.tool_calls %}<tool_call>{{ c.function.name }}\n</tool_call>{% endfor %}{% "
      "endfor %}",
      Json());
  ASSERT_TRUE(lines);
  EXPECT_EQ(detect_call_dialect(lines->get()), CallDialect::kLines);
}

}  // namespace
}  // namespace gale
