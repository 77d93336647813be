#include <gtest/gtest.h>

#include <utility>

#include "base/utf8.h"
#include "chat/output_parser_testing.h"

// Outputs made of parts that are known, in both dialects: every one is parsed whole and cut at every place.
namespace gale {
namespace {

struct Argument {
  std::string key, value, json;   // as the model writes it, as it comes out
};
struct Call {
  std::string name;
  std::vector<Argument> arguments;
};
struct Composed {
  std::string output;
  Seen expected;
};

enum class Dialect { kCompact, kLines };

std::string write_call(const Call& call, Dialect dialect) {
  const std::string newline = dialect == Dialect::kLines ? "\n" : "";
  std::string text = "<tool_call>" + call.name + newline;
  for (const Argument& argument : call.arguments)
    text +=
        "<arg_key>" + argument.key + "</arg_key>" + newline + "<arg_value>" + argument.value + "</arg_value>" + newline;
  return text + "</tool_call>";
}

std::string json_of(const Call& call) {
  std::string json = "{";
  for (const Argument& argument : call.arguments)
    json += (json.size() > 1 ? ", \"" : "\"") + argument.key + "\": " + argument.json;
  return json + "}";
}

std::vector<std::vector<Call>> call_lists() {
  const std::vector<Argument> texts = {
      {"text", "Oslo", R"("Oslo")"},
      {"text", "", R"("")"},
      {"text", "  two\n\nlines ", R"("  two\n\nlines ")"},
      {"text", "a <b> c </d> & <", R"("a <b> c </d> & <")"},
      {"text", "say \"hi\" \\ it's", R"("say \"hi\" \\ it's")"},
      {"text", "北京，你好 😀", R"("北京，你好 😀")"},
      {"text", R"({"not": "parsed"})", R"("{\"not\": \"parsed\"}")"},
      {"text", "<think>~</think><tool_call>", R"("<think></think><tool_call>")"},
  };
  const std::vector<Argument> others = {
      {"count", "42", "42"},
      {"count", "-1.5e3", "-1.5e3"},
      {"any", "true", "true"},
      {"any", "None", "null"},
      {"any", R"({"a": {"b": [1, null, "<x>"]}})", R"({"a": {"b": [1, null, "<x>"]}})"},
      {"any", "['it', 2]", R"(["it",2])"},
      {"any", "free words", R"("free words")"},
      {"filter", R"({"x": [1, 2]})", R"({"x": [1, 2]})"},
      {"maybe", "null", "null"},
      {"unit", "1", R"("1")"},
  };
  std::vector<std::vector<Call>> lists = {{}, {{"get_time", {}}}};
  for (const Argument& text : texts) lists.push_back({{"write", {text}}});
  for (const Argument& other : others) lists.push_back({{"search", {other}}});
  lists.push_back({{"get_time", {}}, {"get_time", {}}});
  lists.push_back(
      {{"get_weather", {{"city", "Rom", R"("Rom")"}, {"days", "3", "3"}}}, {"write", {texts[3]}}, {"get_time", {}}});
  lists.push_back({{"search", {others[0], others[4], {"unit", "2", R"("2")"}}}});
  return lists;
}

// Reasoning, content and calls in all combinations that a model may write.
std::vector<Composed> compose_all() {
  std::vector<Composed> all;
  for (const Dialect dialect : {Dialect::kCompact, Dialect::kLines}) {
    const std::string newline = dialect == Dialect::kLines ? "\n" : "";
    for (const std::string reasoning : {"", "one\n two ~<tool_call> 三", "-"}) {
      for (const std::string content : {"", "I will look.", "Zwei <b>Zeilen\n\n- 中文"}) {
        for (const std::vector<Call>& calls : call_lists()) {
          const bool thinks = reasoning != "-";
          Composed one;
          if (thinks) one.output = newline + "<think>" + reasoning + "</think>" + newline;
          one.output += content;
          if (thinks) one.expected.reasoning = reasoning.empty() ? "" : "one\n two <tool_call> 三";
          one.expected.content = content;
          for (const Call& call : calls) {
            one.output += newline + write_call(call, dialect);
            one.expected.calls.emplace_back(call.name, json_of(call));
          }
          all.push_back(std::move(one));
        }
      }
    }
  }
  return all;
}

TEST(OutputParserCorpus, is_large) { EXPECT_GE(compose_all().size(), 300u); }

TEST(OutputParserCorpus, comes_out_as_it_was_composed_whole_and_cut_anywhere) {
  size_t num_cuts = 0;
  for (const Composed& one : compose_all()) {
    const std::vector<Piece> whole = pieces_of(one.output);
    ASSERT_EQ(parse(whole, {}), one.expected) << one.output;
    for (size_t p = 0; p < whole.size(); ++p) {
      if (whole[p].id != kText) continue;
      const std::string& text = whole[p].text;
      for (size_t at = 0; at < text.size(); at += decode_utf8(std::string_view(text).substr(at)).length) {
        std::vector<Piece> cut = whole;
        cut[p].text = text.substr(at);
        cut.insert(cut.begin() + static_cast<ptrdiff_t>(p), {kText, text.substr(0, at)});
        ASSERT_EQ(parse(cut, {}), one.expected) << one.output << "\ncut at " << at << " of piece " << p;
        ++num_cuts;
      }
    }
  }
  RecordProperty("cuts", static_cast<int>(num_cuts));
  EXPECT_GT(num_cuts, 10'000u);
}

TEST(OutputParserBounds, a_name_that_does_not_end_is_text) {
  const std::string endless(2000, 'x');
  EXPECT_EQ(parse(pieces_of("<tool_call>" + endless), {}).content, "<tool_call>" + endless);
  EXPECT_EQ(parse(pieces_of("<tool_call>" + endless + "\n</tool_call>"), {}).content,
            "<tool_call>" + endless + "\n</tool_call>");
  std::vector<Piece> characters = {{kFirstTag + 2, "<tool_call>"}};
  for (const char c : endless + "\n") characters.push_back({kText, std::string(1, c)});
  EXPECT_EQ(parse(characters, {}).content, "<tool_call>" + endless + "\n");
}

TEST(OutputParserBounds, endless_blanks_are_text_however_they_come) {
  const std::string blanks(5000, ' ');
  const std::string expected = "a" + blanks + "\n";
  EXPECT_EQ(parse(pieces_of("a" + blanks + "\n<tool_call>get_time</tool_call>"), {}).content, expected);
  std::vector<Piece> one_by_one = {{kText, "a"}};
  for (const char c : blanks + "\n") one_by_one.push_back({kText, std::string(1, c)});
  for (const Piece& piece : pieces_of("<tool_call>get_time</tool_call>")) one_by_one.push_back(piece);
  EXPECT_EQ(parse(one_by_one, {}).content, expected);
}

}  // namespace
}  // namespace gale
