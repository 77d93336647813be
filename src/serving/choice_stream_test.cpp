#include "serving/choice_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <type_traits>

#include "serving/pipeline_testing.h"
#include "serving/stop_matcher.h"

namespace gale {
namespace {

// What the definition says, on the whole text: the stop string that is complete first, of equals the longest.
std::string cut_whole(const std::string& text, const std::vector<std::string>& stops, bool include) {
  size_t best_end = std::string::npos, best_begin = 0;
  for (const std::string& stop : stops) {
    const size_t begin = text.find(stop);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (end < best_end || (end == best_end && begin < best_begin)) {
      best_end = end;
      best_begin = begin;
    }
  }
  return best_end == std::string::npos ? text : text.substr(0, include ? best_end : best_begin);
}

TEST(StopMatcher, cuts_random_texts_the_same_however_they_are_split) {
  std::mt19937 random(5);
  const auto random_text = [&](size_t max_length) {
    std::string out;
    for (size_t i = 1 + random() % max_length; i > 0; --i) out.push_back(static_cast<char>('a' + random() % 2));
    return out;
  };
  int num_matches = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(random_text(6));
    const std::string text = random_text(20);
    const bool include = random() % 2 == 0;
    StopMatcher matcher(stops, include);
    std::string out;
    for (size_t begin = 0; begin < text.size();) {
      const size_t length = 1 + random() % 4;
      out += matcher.append(std::string_view(text).substr(begin, length));
      begin += length;
    }
    if (!matcher.match()) out += matcher.flush();
    num_matches += matcher.match() ? 1 : 0;
    ASSERT_EQ(out, cut_whole(text, stops, include)) << text;
  }
  EXPECT_GT(num_matches, 1000);
}

TEST(StopMatcher, holds_back_only_what_may_become_a_stop_string) {
  StopMatcher matcher({"END", "###"}, false);
  EXPECT_EQ(matcher.append("text E"), "text ");
  EXPECT_EQ(matcher.append("N"), "");
  EXPECT_EQ(matcher.append("TER #"), "ENTER ");
  EXPECT_EQ(matcher.append("# "), "## ");
  EXPECT_EQ(matcher.num_held_bytes(), 0U);
}

class ChoiceStreamTest : public testing::Test {
 protected:
  // Text as tokens of single bytes, tags as the tokens they name.
  std::vector<TokenId> bytes(const std::string& text) const {
    std::vector<TokenId> tokens;
    for (size_t i = 0; i < text.size();) {
      if (const auto tag = tag_at(text, i)) {
        tokens.push_back(*tokenizer_->find_added_token(*tag));
        i += tag->size();
      } else {
        tokens.push_back(tokenizer_->encode(text.substr(i++, 1), AddedTokens::kPlain).at(0));
      }
    }
    return tokens;
  }
  static std::optional<std::string> tag_at(const std::string& text, size_t at) {
    const size_t end = text.find('>', at);
    if (text[at] != '<' || end == std::string::npos) return std::nullopt;
    return text.substr(at, end + 1 - at);
  }

  // Feeds the tokens, `step` at a time, with a finish at the end.
  ChoiceRecord run(const std::vector<TokenId>& tokens, const ChoiceOptions& options, size_t step) {
    ChoiceStream stream(*tokenizer_, OutputFormat::detect(*tokenizer_), options);
    ChoiceRecord record;
    for (size_t begin = 0; begin < tokens.size() && !stream.is_finished(); begin += step) {
      const size_t end = std::min(tokens.size(), begin + step);
      SequenceOutput output{
          .tokens = {tokens.begin() + static_cast<ptrdiff_t>(begin), tokens.begin() + static_cast<ptrdiff_t>(end)}};
      if (end == tokens.size()) output.finish = FinishReason::kLength;
      ChoiceStep result = stream.append(std::move(output));
      note(result, record);
    }
    num_tokens_ = stream.num_tokens();
    return record;
  }
  static void note(ChoiceStep& step, ChoiceRecord& record) {
    record.text += step.delta.text;
    record.tokens.insert(record.tokens.end(), step.delta.tokens.begin(), step.delta.tokens.end());
    for (const ChatDelta& part : step.delta.parts) {
      if (const auto* content = std::get_if<ContentDelta>(&part)) record.content += content->text;
      if (const auto* reasoning = std::get_if<ReasoningDelta>(&part)) record.reasoning += reasoning->text;
      if (const auto* call = std::get_if<ToolCallStart>(&part)) record.calls.push_back(call->name);
      if (const auto* piece = std::get_if<ToolArgumentsDelta>(&part)) record.arguments += piece->json_piece;
    }
    if (step.finished) record.finished = step.finished;
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer();
  int num_tokens_ = 0;
};

// It holds a deque, whose move takes memory: in a vector that grows, a lack of it ended the server.
TEST_F(ChoiceStreamTest, stays_where_it_is) { EXPECT_FALSE(std::is_move_constructible_v<ChoiceStream>); }

TEST_F(ChoiceStreamTest, a_stop_string_is_cut_out_at_any_step_width) {
  const std::vector<TokenId> tokens = bytes("first STO STOP after");
  for (size_t step = 1; step <= tokens.size(); ++step) {
    const ChoiceRecord record = run(tokens, {.stop_strings = {"STOP", "never"}}, step);
    EXPECT_EQ(record.text, "first STO ") << step;
    EXPECT_EQ(std::get<std::string>(record.finished->stop_reason), "STOP");
    EXPECT_EQ(record.finished->reason, ChoiceFinish::kStop);
    EXPECT_EQ(num_tokens_, 14);   // up to the token that completes it, whatever the engine sent beyond
    EXPECT_EQ(record.tokens.size(), 14U);
    EXPECT_EQ(run(tokens, {.stop_strings = {"STOP"}, .include_stop_str_in_output = true}, step).text, "first STO STOP");
  }
}

TEST_F(ChoiceStreamTest, tokens_come_with_the_text_they_made_certain) {
  ChoiceStream stream(*tokenizer_, OutputFormat::detect(*tokenizer_), {.stop_strings = {"abc"}});
  const std::vector<TokenId> tokens = bytes("xabx");
  std::vector<std::pair<std::string, size_t>> steps;
  for (const TokenId token : tokens) {
    const Delta delta = stream.append({.tokens = {token}}).delta;
    steps.emplace_back(delta.text, delta.tokens.size());
  }
  EXPECT_EQ(steps, (std::vector<std::pair<std::string, size_t>>{{"x", 1}, {"", 0}, {"", 0}, {"abx", 3}}));
}

TEST_F(ChoiceStreamTest, what_was_held_back_is_released_at_the_end) {
  const ChoiceRecord record = run(bytes("half a STO"), {.stop_strings = {"STOP"}}, 3);
  EXPECT_EQ(record.text, "half a STO");
  EXPECT_EQ(record.finished->reason, ChoiceFinish::kLength);
}

TEST_F(ChoiceStreamTest, stop_strings_do_not_count_within_the_first_min_tokens) {
  const ChoiceRecord record = run(bytes("a.b.c.d"), {.stop_strings = {"."}, .min_tokens = 4}, 2);
  EXPECT_EQ(record.text, "a.b.c");
}

TEST_F(ChoiceStreamTest, a_stop_string_acts_on_content_but_not_on_reasoning_or_arguments) {
  const std::string call = "<tool_call>find<arg_key>q</arg_key><arg_value>STOP it</arg_value></tool_call>";
  const std::vector<TokenId> tokens = bytes("so STOP </think>the answer" + call + "STOP tail");
  for (size_t step = 1; step <= tokens.size(); ++step) {
    const ChoiceOptions options{.stop_strings = {"STOP"}, .parser = OutputParserOptions{.starts_in_reasoning = true}};
    const ChoiceRecord record = run(tokens, options, step);
    EXPECT_EQ(record.reasoning, "so STOP ") << step;
    EXPECT_EQ(record.content, "the answer");
    EXPECT_EQ(record.calls, std::vector<std::string>{"find"});
    EXPECT_EQ(Json::parse(record.arguments), (Json{{"q", "STOP it"}}));
    EXPECT_EQ(std::get<std::string>(record.finished->stop_reason), "STOP");
    EXPECT_EQ(record.finished->reason, ChoiceFinish::kToolCalls);
  }
}

TEST_F(ChoiceStreamTest, the_token_that_stops_is_told_but_shown_only_on_request) {
  const TokenId end = bytes("!")[0];
  const auto text_with = [&](ChoiceOptions options, Finished& finished) {
    ChoiceStream stream(*tokenizer_, OutputFormat::detect(*tokenizer_), std::move(options));
    ChoiceStep step = stream.append({.tokens = {bytes("a")[0], end}, .finish = FinishReason::kStop, .stop_token = end});
    EXPECT_EQ(step.delta.tokens.size(), 2U);
    finished = *step.finished;
    return step.delta.text;
  };
  Finished finished;
  EXPECT_EQ(text_with({.reported_stop_ids = {end}}, finished), "a");
  EXPECT_EQ(std::get<TokenId>(finished.stop_reason), end);
  EXPECT_EQ(text_with({.include_stop_str_in_output = true}, finished), "a!");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(finished.stop_reason));
}

TEST_F(ChoiceStreamTest, text_never_ends_inside_a_code_point) {
  const std::string text = "über 🚀 中文";
  ChoiceStream stream(*tokenizer_, OutputFormat::detect(*tokenizer_), {.stop_strings = {"never"}});
  std::string out;
  for (const TokenId token : tokenizer_->encode(text, AddedTokens::kPlain)) {
    const std::string piece = stream.append({.tokens = {token}}).delta.text;
    EXPECT_EQ(piece.find("\xEF\xBF\xBD"), std::string::npos);
    EXPECT_TRUE(piece.empty() || (static_cast<uint8_t>(piece.front()) & 0xC0) != 0x80) << piece;
    out += piece;
  }
  EXPECT_EQ(out, text);
}

}  // namespace
}  // namespace gale
