#include "tokenizer/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
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
  static const std::vector<std::string> kParts = {"a", "Zed", "'s", "'LL", "'\u017F", "'", "1", "2345", " ", "  ", "\n", "\r\n", "\t",
                                                  "!", "?!", "你", "é", "\u0301", "\u00A0", "\u3000", "½", "😀", "\u180E", "\u1C89"};
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
  for (const std::string pattern : {std::string(kLlama3Pattern), std::string(kQwenPattern)}) {
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

TEST(Scanner, keeps_the_last_blank_for_the_next_word) {
  const auto scanner = make(std::string(kLlama3Pattern));
  EXPECT_THAT(split(*scanner, "it's   1234 \n\n x!!\n"), ElementsAre("it", "'s", "  ", " ", "123", "4", " \n\n", " x", "!!\n"));
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
  for (const char* pattern : {R"([\S])", R"([\P{L}])", "[a&&b]", "[a[b]]", "(", "[a"}) EXPECT_FALSE(make_splitter(pattern)) << pattern;
}

TEST(RegexSplitter, a_long_text_is_no_trouble) {
  const auto splitter = make(std::string(R"((?:a|b)+|\s+(?!\S)|\s+)"));
  EXPECT_THAT(split(*splitter, std::string(300'000, 'a')), testing::SizeIs(1));
}

}  // namespace
}  // namespace gale
