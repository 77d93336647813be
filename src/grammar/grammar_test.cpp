#include "grammar/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace gale {
namespace {

using testing::HasSubstr;

// The bytes 0 … 255 as one token each, then these.
constexpr TokenId kWord = 256, kOpen = 257, kClose = 258, kStop = 259, kGap = 260, kBlank = 261;

Vocabulary bytes_and_tags() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* text : {"true", "<open>", "</open>", "<stop>", "", "\n\n"}) vocabulary.tokens.emplace_back(text);
  vocabulary.control_tokens = {kOpen, kClose, kStop};
  vocabulary.stop_token_ids = {kStop};
  return vocabulary;
}

std::shared_ptr<const GrammarTokens> tokens() {
  auto made = GrammarTokens::create(bytes_and_tags());
  EXPECT_TRUE(made) << made.error().message;
  return *made;
}

std::string tag(const std::string& format) { return R"({"type": "structural_tag", "format": )" + format + "}"; }

std::shared_ptr<const Grammar> grammar_of(const std::string& format) {
  const auto vocabulary = tokens();
  const auto serialised = compile_grammar(tag(format), *vocabulary);
  EXPECT_TRUE(serialised) << serialised.error().message;
  auto grammar = Grammar::read(*serialised, vocabulary);
  EXPECT_TRUE(grammar) << grammar.error().message;
  return *grammar;
}

bool allows(GrammarState& state, TokenId token) {
  std::vector<uint32_t> words(16);   // more than the vocabulary has
  EXPECT_TRUE(state.allowed(words));
  for (int t = 262; t < 16 * 32; ++t) EXPECT_EQ(words[static_cast<size_t>(t) / 32] >> (t % 32) & 1U, 0U) << t;
  return (words[static_cast<size_t>(token) / 32] >> (token % 32) & 1U) != 0;
}

bool accepts(GrammarState& state, const std::string& text) {
  for (const char c : text)
    if (!allows(state, static_cast<unsigned char>(c)) || !state.accept(static_cast<unsigned char>(c))) return false;
  return true;
}

TEST(GrammarTokens, know_text_from_tags) {
  const auto made = tokens();
  EXPECT_EQ(made->vocab_size(), 262);
  EXPECT_TRUE(made->is_text('a') && made->is_text(kWord) && made->is_text(kBlank));
  EXPECT_FALSE(made->is_text(kOpen) || made->is_text(kStop) || made->is_text(kGap) || made->is_text(-1) ||
               made->is_text(1000));
  EXPECT_TRUE(made->is_blank(' ') && made->is_blank(kBlank));
  EXPECT_FALSE(made->is_blank('a') || made->is_blank(kGap));
}

TEST(GrammarTokens, refuse_ids_that_are_not_there) {
  Vocabulary vocabulary = bytes_and_tags();
  vocabulary.stop_token_ids = {9999};
  EXPECT_FALSE(GrammarTokens::create(vocabulary));
}

TEST(Grammar, follows_a_schema_to_its_end) {
  GrammarState state(grammar_of(
      R"({"type": "json_schema", "json_schema": {"type": "object", )"
      R"("properties": {"a": {"type": "boolean"}}, "required": ["a"]}})"));
  EXPECT_FALSE(allows(state, 'x'));
  EXPECT_FALSE(allows(state, kStop));
  ASSERT_TRUE(accepts(state, R"({"a":)"));
  EXPECT_TRUE(allows(state, kWord));
  EXPECT_FALSE(allows(state, '1'));
  ASSERT_TRUE(state.accept(kWord));
  ASSERT_TRUE(accepts(state, "}"));
  EXPECT_TRUE(allows(state, kStop));
  EXPECT_FALSE(state.is_over());
  ASSERT_TRUE(state.accept(kStop));
  EXPECT_TRUE(state.is_over());
}

TEST(Grammar, a_refused_token_changes_nothing) {
  GrammarState state(grammar_of(R"({"type": "regex", "pattern": "ab"})"));
  ASSERT_TRUE(state.accept('a'));
  EXPECT_FALSE(state.accept('x'));
  EXPECT_FALSE(state.accept(-1));
  EXPECT_FALSE(state.accept(1 << 20));
  EXPECT_FALSE(state.accept(kGap));
  EXPECT_TRUE(state.accept('b'));
}

TEST(Grammar, text_never_holds_a_tag_and_a_tag_is_never_spelt) {
  GrammarState state(grammar_of(R"({"type": "sequence", "elements": [
      {"type": "token", "token": 257}, {"type": "grammar", "grammar": "root ::= [^]*"},
      {"type": "token", "token": 258}]})"));
  EXPECT_FALSE(allows(state, '<'));
  ASSERT_TRUE(allows(state, kOpen) && state.accept(kOpen));
  ASSERT_TRUE(accepts(state, "</open>"));   // text that looks like the tag is text
  EXPECT_FALSE(allows(state, kOpen) || allows(state, kStop));
  ASSERT_TRUE(allows(state, kClose) && state.accept(kClose));
  EXPECT_TRUE(allows(state, kStop));
}

TEST(Grammar, a_string_ends_no_code_point_in_the_middle) {
  GrammarState state(grammar_of(R"({"type": "json_schema", "json_schema": {"type": "string"}})"));
  ASSERT_TRUE(accepts(state, "\"\xE4\xBD"));
  EXPECT_FALSE(allows(state, '"'));
  EXPECT_TRUE(allows(state, 0xA0));
}

struct Refusal {
  const char* format;
  const char* says;
};
class GrammarRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(GrammarRefusal, says_what_is_wrong_in_one_line) {
  const auto refused = compile_grammar(tag(GetParam().format), *tokens());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr(GetParam().says));
  EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
  EXPECT_EQ(refused.error().message.find(".cc"), std::string::npos) << refused.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Table, GrammarRefusal,
    testing::Values(
        Refusal{R"({"type": "nothing"})", "nothing"}, Refusal{R"({"type": "regex", "pattern": "("})", ""},
        Refusal{R"({"type": "grammar", "grammar": "root ::= missing"})", "missing"},
        Refusal{R"({"type": "json_schema", "json_schema": {"type": "number", "multipleOf": 2}})", "multipleOf"},
        Refusal{R"({"type": "json_schema", "json_schema": {"allOf": [{"type": "string"}, {"type": "string"}]}})",
                "allOf"},
        Refusal{R"({"type": "json_schema", "json_schema": {"oneOf": [{"type": "integer"}, {"type": "number"}]}})",
                "oneOf"},
        Refusal{R"({"type": "json_schema", "json_schema": false})", ""}));

TEST(Grammar, of_other_tokens_or_bytes_is_refused) {
  const auto serialised = compile_grammar(tag(R"({"type": "regex", "pattern": "ab"})"), *tokens());
  ASSERT_TRUE(serialised);
  EXPECT_FALSE(Grammar::read("{}", tokens()));
  EXPECT_FALSE(Grammar::read(serialised->substr(0, serialised->size() / 2), tokens()));
  Vocabulary other = bytes_and_tags();
  other.tokens.push_back("more");
  EXPECT_FALSE(Grammar::read(*serialised, *GrammarTokens::create(other)));
}

}  // namespace
}  // namespace gale
