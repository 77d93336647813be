#include "tokenizer/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "tokenizer/deepseek_scanner.h"
#include "tokenizer/regex_splitter.h"
#include "tokenizer/scanner.h"

namespace gale {
namespace {

using testing::ElementsAre;

std::vector<std::string> split(const Splitter& splitter, const std::string& text) {
  std::vector<size_t> ends;
  splitter.split(text, ends);
  std::vector<std::string> pieces;
  size_t begin = 0;
  for (const size_t end : ends) {
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return pieces;
}

std::unique_ptr<Splitter> make(const std::string& pattern) {
  auto splitter = make_splitter(pattern);
  EXPECT_TRUE(splitter) << splitter.error().message;
  return *std::move(splitter);
}

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kParts = {
      "a",      "Zed",    "'s",     "'LL",    "'\u017F", "'",      "1",      "2345",   " ",      "  ",    "\n",
      "\r\n",   "\t",     "!",      "?!",     "你",      "é",      "\u0301", "\u00A0", "\u3000", "½",     "😀",
      "\u180E", "\u1C89", "\u30A2", "\u30FB", "\u3099",  "\u3040", "\x01",   "\u200D", "_",      "\uE000"};
  std::string text;
  for (int i = 0; i < 12; ++i) {
    if (random() % 8 == 0) {
      const uint32_t code_point = random() % 0x30000;
      append_utf8(text, code_point >= 0xD800 && code_point <= 0xDFFF ? 'x' : code_point);
    } else {
      text += kParts[random() % kParts.size()];
    }
  }
  return text;
}

TEST(Scanner, cuts_as_the_pattern_does) {
  for (const std::string_view known : {kLlama3Pattern, kQwenPattern}) {
    const std::string pattern(known);
    const auto scanner = make(pattern);
    ASSERT_NE(dynamic_cast<Scanner*>(scanner.get()), nullptr);
    const auto regex = RegexSplitter::compile(pattern);
    ASSERT_TRUE(regex) << regex.error().message;
    std::mt19937 random(2);
    for (int i = 0; i < 20000; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(split(*scanner, text), split(**regex, text)) << text;
    }
  }
}

// The pieces of splitters that cut one after the other.
std::vector<std::string> split_by_all(const std::vector<std::unique_ptr<RegexSplitter>>& splitters,
                                      const std::string& text) {
  std::vector<std::string> pieces = {text};
  for (const auto& splitter : splitters) {
    std::vector<std::string> finer;
    for (const std::string& piece : pieces)
      for (std::string& part : split(*splitter, piece)) finer.push_back(std::move(part));
    pieces = std::move(finer);
  }
  return pieces;
}

TEST(DeepSeekScanner, cuts_as_the_three_patterns_do) {
  const std::vector<std::string> patterns(kDeepSeekPatterns.begin(), kDeepSeekPatterns.end());
  const auto splitters = make_splitters(patterns);
  ASSERT_TRUE(splitters) << splitters.error().message;
  ASSERT_EQ(splitters->size(), 1u);
  ASSERT_NE(dynamic_cast<DeepSeekScanner*>((*splitters)[0].get()), nullptr);
  std::vector<std::unique_ptr<RegexSplitter>> regexes;
  for (const std::string& pattern : patterns) regexes.push_back(*RegexSplitter::compile(pattern));
  std::mt19937 random(3);
  for (int i = 0; i < 40000; ++i) {
    const std::string text = random_text(random);
    ASSERT_EQ(split(*(*splitters)[0], text), split_by_all(regexes, text)) << text;
  }
}

TEST(DeepSeekScanner, a_pattern_may_hold_line_breaks_themselves) {
  std::vector<std::string> patterns(kDeepSeekPatterns.begin(), kDeepSeekPatterns.end());
  for (std::string& pattern : patterns) {
    for (const auto& [escape, character] : {std::pair("\\r", "\r"), std::pair("\\n", "\n")})
      for (size_t at; (at = pattern.find(escape)) != std::string::npos;) pattern.replace(at, 2, character);
  }
  EXPECT_THAT(*make_splitters(patterns), testing::SizeIs(1));
}

TEST(DeepSeekScanner, a_segment_ends_before_digits_and_chinese) {
  const auto splitters = *make_splitters({kDeepSeekPatterns.begin(), kDeepSeekPatterns.end()});
  EXPECT_THAT(
      split(*splitters[0], "a  1234 \u4F60\u30FB\u597D!ab\u00E9 x\x01\x01y"),
      ElementsAre("a", "  ", "123", "4", " ", "\u4F60", "\u30FB", "\u597D", "!ab", "\u00E9", " x", "\x01", "\x01y"));
}

TEST(Scanner, keeps_the_last_blank_for_the_next_word) {
  const auto scanner = make(std::string(kLlama3Pattern));
  EXPECT_THAT(split(*scanner, "it's   1234 \n\n x!!\n"),
              ElementsAre("it", "'s", "  ", " ", "123", "4", " \n\n", " x", "!!\n"));
}

TEST(RegexSplitter, keeps_the_text_between_matches) {
  const auto splitter = make(R"(\p{N}+)");
  EXPECT_THAT(split(*splitter, "a12b"), ElementsAre("a", "12", "b"));
  EXPECT_THAT(split(*splitter, "ab"), ElementsAre("ab"));
  EXPECT_THAT(split(*splitter, "12"), ElementsAre("12"));
}

TEST(RegexSplitter, white_space_is_that_of_unicode) {
  const auto splitter = make(R"(\s+)");
  EXPECT_THAT(split(*splitter, "a\u0085\u2029b\u180Ec"), ElementsAre("a", "\u0085\u2029", "b\u180Ec"));
}

TEST(RegexSplitter, refuses_what_it_cannot_translate) {
  for (const char* pattern : {R"([\S])", R"([\P{L}])", "[a&&b]", "[a[b]]", "(", "[a"})
    EXPECT_FALSE(make_splitter(pattern)) << pattern;
}

TEST(RegexSplitter, a_long_text_is_no_trouble) {
  const auto splitter = make(std::string(R"((?:a|b)+|\s+(?!\S)|\s+)"));
  EXPECT_THAT(split(*splitter, std::string(300'000, 'a')), testing::SizeIs(1));
}

}  // namespace
}  // namespace gale
