#include "engine/constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "grammar/grammar.h"

namespace gale {
namespace {

constexpr TokenId kOpen = 128, kClose = 129, kStop = 130;
constexpr int kModelTokens = 160;   // more rows than the tokenizer has tokens

// ASCII as one token a character, and tags.
Vocabulary ascii() {
  Vocabulary vocabulary;
  for (char c = 0; vocabulary.tokens.size() < 128; ++c) vocabulary.tokens.emplace_back(1, c);
  for (const char* text : {"<think>", "</think>", "<stop>"}) vocabulary.tokens.emplace_back(text);
  vocabulary.control_tokens = {kOpen, kClose, kStop};
  vocabulary.stop_token_ids = {kStop};
  return vocabulary;
}

SharedText regex_grammar(const std::string& pattern) {
  const auto serialised =
      compile_grammar(R"({"type": "structural_tag", "format": {"type": "regex", "pattern": ")" + pattern + "\"}}",
                      **GrammarTokens::create(ascii()));
  EXPECT_TRUE(serialised) << serialised.error().message;
  return *serialised;
}

class ConstraintsTest : public testing::Test {
 protected:
  ConstraintsTest() { constraints_.set_vocabulary(ascii()); }

  std::unique_ptr<TokenConstraint> make(const SharedText& grammar, Thinking thinking = {}) {
    auto made = constraints_.make(Submit{.prompt = {1}, .grammar = grammar, .thinking = thinking});
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  // What may follow this output, as text; tags by their own.
  static std::string allowed(TokenConstraint& constraint, const std::vector<TokenId>& output) {
    constraint.prepare(output);
    const TokenMask& mask = constraint.mask();
    if (mask.error) return "error: " + mask.error->message;
    if (mask.words.empty()) return "all";
    std::string text;
    for (TokenId token = 0; token < kModelTokens; ++token) {
      if (!mask.allows(token)) continue;
      text += token == kOpen    ? "«open»"
              : token == kClose ? "«close»"
              : token == kStop  ? "«stop»"
              : token < 128     ? std::string(1, static_cast<char>(token))
                                : "?";
    }
    return text;
  }

  Constraints constraints_{kModelTokens};
};

TEST_F(ConstraintsTest, nothing_is_made_of_nothing) {
  const auto made = constraints_.make(Submit{.prompt = {1}, .thinking = {.close = kClose}});
  ASSERT_TRUE(made);
  EXPECT_EQ(*made, nullptr);
}

TEST_F(ConstraintsTest, a_grammar_holds_from_the_first_token) {
  const auto constraint = make(regex_grammar("a[bc]"));
  EXPECT_EQ(allowed(*constraint, {}), "a");
  EXPECT_EQ(allowed(*constraint, {'a'}), "bc");
  EXPECT_EQ(allowed(*constraint, {'a', 'c'}), "«stop»");
}

TEST_F(ConstraintsTest, a_resumed_sequence_stands_where_it_stood) {
  const auto constraint = make(regex_grammar("a[bc]"));
  EXPECT_EQ(allowed(*constraint, {'a', 'b'}), "«stop»");
}

TEST_F(ConstraintsTest, a_grammar_waits_for_the_end_of_thinking) {
  const auto constraint = make(regex_grammar("[bc]"), {.close = kClose});
  const std::string thoughts = allowed(*constraint, {});
  EXPECT_NE(thoughts.find('x'), std::string::npos);
  EXPECT_NE(thoughts.find("«close»"), std::string::npos);
  EXPECT_EQ(thoughts.find("«stop»"), std::string::npos) << "it may not end before the answer";
  EXPECT_EQ(allowed(*constraint, {'x', kClose}), "bc");
}

TEST_F(ConstraintsTest, a_model_that_opens_thinking_itself_has_to) {
  const auto constraint = make(regex_grammar("[bc]"), {.open = kOpen, .close = kClose});
  EXPECT_EQ(allowed(*constraint, {}), "\t\n\r «open»");
  EXPECT_EQ(allowed(*constraint, {'\n'}), "«open»");
  EXPECT_GT(allowed(*constraint, {'\n', kOpen}).size(), 100u);
  EXPECT_EQ(allowed(*constraint, {'\n', kOpen, 'x', kClose}), "bc");
}

TEST_F(ConstraintsTest, a_budget_ends_thinking) {
  const auto constraint = make({}, {.close = kClose, .budget = 2});
  EXPECT_EQ(allowed(*constraint, {}), "all");
  EXPECT_EQ(allowed(*constraint, {'x'}), "all");
  EXPECT_EQ(allowed(*constraint, {'x', 'y'}), "«close»");
  EXPECT_EQ(allowed(*constraint, {'x', 'y', kClose}), "all");
}

TEST_F(ConstraintsTest, a_budget_counts_only_thinking) {
  const auto constraint = make({}, {.open = kOpen, .close = kClose, .budget = 1});
  EXPECT_EQ(allowed(*constraint, {'\n'}), "all");
  EXPECT_EQ(allowed(*constraint, {'\n', kOpen}), "all");
  EXPECT_EQ(allowed(*constraint, {'\n', kOpen, 'x'}), "«close»");
  const auto answers_at_once = make({}, {.open = kOpen, .close = kClose, .budget = 1});
  EXPECT_EQ(allowed(*answers_at_once, {'a', 'b', 'c', 'd'}), "all");
}

TEST_F(ConstraintsTest, output_against_the_grammar_is_an_error) {
  const auto constraint = make(regex_grammar("ab"));
  EXPECT_THAT(allowed(*constraint, {'x'}), testing::StartsWith("error: "));
  EXPECT_THAT(allowed(*constraint, {'x', 'a'}), testing::StartsWith("error: "));
}

TEST_F(ConstraintsTest, bytes_that_are_no_grammar_are_an_error_of_that_sequence) {
  const auto constraint = make(SharedText("nonsense"));
  EXPECT_THAT(allowed(*constraint, {}), testing::StartsWith("error: "));
  EXPECT_EQ(allowed(*make(regex_grammar("a")), {}), "a");
}

TEST_F(ConstraintsTest, sequences_of_one_grammar_do_not_meet) {
  const SharedText grammar = regex_grammar("a[bc]");
  const auto one = make(grammar), other = make(grammar);
  EXPECT_EQ(allowed(*one, {'a'}), "bc");
  EXPECT_EQ(allowed(*other, {}), "a");
}

TEST_F(ConstraintsTest, a_sequence_may_go_while_its_mask_is_computed) {
  const SharedText grammar = regex_grammar("[a-z]{1,50}");
  for (int i = 0; i < 200; ++i) make(grammar)->prepare(std::vector<TokenId>(20, 'a'));
}

TEST(ConstraintsWithoutVocabulary, refuse_grammars_and_keep_budgets) {
  Constraints constraints(kModelTokens);
  const auto refused = constraints.make(Submit{.prompt = {1}, .grammar = SharedText("x")});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnimplemented);
  EXPECT_TRUE(constraints.make(Submit{.prompt = {1}, .thinking = {.close = kClose, .budget = 3}}));
  constraints.set_vocabulary({.tokens = std::vector<std::string>(kModelTokens + 1, "x")});
  EXPECT_FALSE(constraints.make(Submit{.prompt = {1}, .grammar = SharedText("x")}));
}

}  // namespace
}  // namespace gale
