#include "chat/output_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/utf8.h"
#include "chat/output_parser_cases.h"
#include "chat/output_parser_testing.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

Seen parse(const std::vector<Piece>& pieces, const OutputCase& c) {
  return parse(pieces, OutputParserOptions{.starts_in_reasoning = c.start == Start::kReasoning,
                                           .parse_tool_calls = c.tools == Tools::kParsed});
}

Seen expected(const OutputCase& c) {
  Seen seen{c.reasoning, c.content, {}};
  for (const ExpectedCall& call : c.calls) seen.calls.emplace_back(call.name, call.arguments);
  return seen;
}

class OutputParserCase : public testing::TestWithParam<OutputCase> {};

TEST_P(OutputParserCase, gives_what_the_table_says) {
  EXPECT_EQ(parse(pieces_of(GetParam().output), GetParam()), expected(GetParam()));
}

TEST_P(OutputParserCase, is_the_same_however_text_is_cut) {
  const std::vector<Piece> whole = pieces_of(GetParam().output);
  std::vector<Piece> characters;
  for (size_t p = 0; p < whole.size(); ++p) {
    if (whole[p].id != kText) {
      characters.push_back(whole[p]);
      continue;
    }
    const std::string& text = whole[p].text;
    for (size_t at = 0; at < text.size(); at += decode_utf8(std::string_view(text).substr(at)).length) {
      characters.push_back({kText, text.substr(at, decode_utf8(std::string_view(text).substr(at)).length)});
      std::vector<Piece> split = whole;   // two pieces, also with an empty one before
      split[p].text = text.substr(at);
      split.insert(split.begin() + p, {kText, text.substr(0, at)});
      EXPECT_EQ(parse(split, GetParam()), expected(GetParam())) << "cut at " << at;
    }
  }
  EXPECT_EQ(parse(characters, GetParam()), expected(GetParam()));
}

TEST_P(OutputParserCase, closes_the_arguments_wherever_generation_stops) {
  std::vector<Piece> pieces = pieces_of(GetParam().output);
  while (!pieces.empty()) {
    parse(pieces, GetParam());   // its checks are the test
    if (pieces.back().id == kText && pieces.back().text.size() > 1 && decode_utf8(pieces.back().text).length == 1) {
      size_t keep = pieces.back().text.size() - 1;
      while ((static_cast<unsigned char>(pieces.back().text[keep]) & 0xC0) == 0x80) --keep;
      pieces.back().text.resize(keep);
    } else {
      pieces.pop_back();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Corpus, OutputParserCase, testing::ValuesIn(output_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(OutputParser, the_corpus_is_large_and_its_names_differ) {
  std::set<std::string> names;
  for (const OutputCase& c : output_cases()) names.insert(c.name);
  EXPECT_EQ(names.size(), output_cases().size());
  EXPECT_GE(names.size(), 60u);
}

TEST(OutputParser, strings_stream_while_they_are_generated) {
  OutputParser parser(glm_format(), {.tools = output_case_tools()});
  for (const Piece& piece : pieces_of("<tool_call>write<arg_key>text</arg_key><arg_value>"))
    (void)parser.append(piece.id, piece.text);
  EXPECT_THAT(parser.append(kText, "ab\"c"),
              testing::ElementsAre(ChatDelta(ToolArgumentsDelta{0, R"({"text": "ab\"c)"})));
  EXPECT_THAT(parser.append(kText, "d"), testing::ElementsAre(ChatDelta(ToolArgumentsDelta{0, "d"})));
}

TEST(OutputParser, call_ids_follow_from_the_seed) {
  const auto ids = [](uint64_t seed) {
    OutputParser parser(glm_format(), {.tool_call_id_seed = seed});
    std::vector<std::string> out;
    for (const Piece& piece : pieces_of("<tool_call>a</tool_call><tool_call>b</tool_call>"))
      for (const ChatDelta& delta : parser.append(piece.id, piece.text))
        if (const auto* start = std::get_if<ToolCallStart>(&delta)) out.push_back(start->id);
    return out;
  };
  EXPECT_EQ(ids(1), ids(1));
  EXPECT_NE(ids(1), ids(2));
  ASSERT_EQ(ids(1).size(), 2u);
  EXPECT_NE(ids(1)[0], ids(1)[1]);
  EXPECT_THAT(ids(1)[0], testing::MatchesRegex("call_[0-9A-Za-z]{24}"));
}

TEST(OutputParser, text_held_back_before_a_tag_belongs_before_it) {
  OutputParser parser(glm_format(), {.starts_in_reasoning = true});
  EXPECT_THAT(parser.append(kFirstTag + 1, "\xEF\xBF\xBD</think>"),
              testing::ElementsAre(ChatDelta(ReasoningDelta{"\xEF\xBF\xBD"})));
  EXPECT_EQ(parser.phase(), OutputPhase::kContent);
}

TEST(OutputParser, says_where_it_is_and_counts_reasoning) {
  OutputParser parser(glm_format(), {.starts_in_reasoning = true});
  EXPECT_EQ(parser.phase(), OutputPhase::kReasoning);
  for (const Piece& piece : pieces_of("hm</think>so<tool_call>f")) (void)parser.append(piece.id, piece.text);
  EXPECT_EQ(parser.phase(), OutputPhase::kToolCall);
  EXPECT_EQ(parser.num_reasoning_tokens(), 2);
}

TEST(OutputParser, a_model_without_tags_gives_content_only) {
  OutputParser parser(OutputFormat{}, {});
  Seen seen;
  note(parser.append(kFirstTag, "<think>"), seen);
  note(parser.append(kText, "a "), seen);
  note(parser.finish(), seen);
  EXPECT_EQ(seen.content, "<think>a ");
}

TEST(ThinkingInPrompt, the_last_think_tag_of_the_turn_decides) {
  const OutputFormat format = glm_format();
  const TokenId open = format.think_open.id, close = format.think_close.id;
  const auto in = [&](std::vector<TokenId> prompt) { return thinking_in_prompt(format, prompt); };
  EXPECT_EQ(in({kUser, kText, kAssistant, open}), PromptThinking::kOpen);
  EXPECT_EQ(in({kUser, kText, kAssistant, close}), PromptThinking::kClosed);
  EXPECT_EQ(in({kUser, kText, kAssistant, kText, open, close, kText}), PromptThinking::kClosed);
  EXPECT_EQ(in({open, kUser, kText, kAssistant, kText}), PromptThinking::kUnopened);
  EXPECT_EQ(in({}), PromptThinking::kUnopened);
  EXPECT_EQ(thinking_in_prompt(OutputFormat{}, std::vector<TokenId>{kText, kNoToken}), PromptThinking::kClosed);
}

TEST(OutputFormat, is_found_in_the_built_in_model) {
  const auto tokenizer = Tokenizer::load(GALE_SOURCE_DIR "/models/nano-flash/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const OutputFormat format = OutputFormat::detect(**tokenizer);
  EXPECT_TRUE(format.has_reasoning() && format.has_tool_calls());
  EXPECT_EQ(format.think_open.id, (*tokenizer)->find_added_token("<think>"));
  EXPECT_EQ(format.arg_value_close.id, (*tokenizer)->find_added_token("</arg_value>"));
  EXPECT_EQ(format.turns.size(), 4u);
}

}  // namespace
}  // namespace gale
