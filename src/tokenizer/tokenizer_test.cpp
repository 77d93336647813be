#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "base/json.h"
#include "base/temp_folder_testing.h"
#include "tokenizer/detokenizer.h"

namespace gale {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

const std::string kGolden = GALE_SOURCE_DIR "/tests/golden/text/";

std::unique_ptr<Tokenizer> load_golden(const std::string& kind) {
  auto tokenizer = Tokenizer::load(kGolden + "tokenizer_" + kind + ".json");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return *std::move(tokenizer);
}

std::string decode_in_pieces(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Detokenizer detokenizer(tokenizer, true);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.append(id);
  return text + detokenizer.finish();
}

TEST(Tokenizer, gives_the_ids_and_texts_of_the_reference) {
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  std::ifstream file(kGolden + "golden.jsonl");
  int num_strings = 0;
  for (std::string line; std::getline(file, line); ++num_strings) {
    const auto golden = parse_json(line);
    ASSERT_TRUE(golden) << golden.error().message;
    auto& tokenizer = tokenizers[(*golden)["kind"].get<std::string>()];
    if (!tokenizer) tokenizer = load_golden((*golden)["kind"].get<std::string>());
    const std::vector<TokenId> ids = tokenizer->encode((*golden)["text"].get<std::string>(), AddedTokens::kMatch);
    EXPECT_EQ(ids, (*golden)["ids"].get<std::vector<TokenId>>()) << line;
    EXPECT_EQ(tokenizer->decode(ids, true), (*golden)["decoded"].get<std::string>()) << line;
    EXPECT_EQ(decode_in_pieces(*tokenizer, ids), (*golden)["decoded"].get<std::string>()) << line;
  }
  EXPECT_GE(num_strings, 400);
  EXPECT_THAT(tokenizers, SizeIs(3));
}

TEST(Tokenizer, control_tokens_typed_by_a_user_are_text) {
  const auto tokenizer = load_golden("glm");
  const TokenId user = *tokenizer->find_added_token("<|user|>");
  EXPECT_THAT(tokenizer->encode("<|user|>", AddedTokens::kMatch), ElementsAre(user));
  const auto plain = tokenizer->encode("<|user|>", AddedTokens::kPlain);
  EXPECT_THAT(plain, Not(testing::Contains(user)));
  EXPECT_EQ(tokenizer->decode(plain, true), "<|user|>");
}

TEST(Tokenizer, segments_tokenise_as_one_text) {
  const auto tokenizer = load_golden("glm");
  const std::vector<TextSegment> segments = {
      {"<|user|>He", AddedTokens::kMatch}, {"llo wor", AddedTokens::kPlain}, {"ld", AddedTokens::kMatch}};
  EXPECT_EQ(tokenizer->encode(segments), tokenizer->encode("<|user|>Hello world", AddedTokens::kMatch));
}

TEST(Tokenizer, added_tokens_match_across_neighbouring_template_segments_only) {
  const auto tokenizer = load_golden("glm");
  const TokenId think = *tokenizer->find_added_token("<think>");
  const auto encode = [&](AddedTokens second) {
    return tokenizer->encode(std::vector<TextSegment>{{"<thi", AddedTokens::kMatch}, {"nk>", second}});
  };
  EXPECT_THAT(encode(AddedTokens::kMatch), ElementsAre(think));
  EXPECT_THAT(encode(AddedTokens::kPlain), Not(testing::Contains(think)));
}

TEST(Tokenizer, a_normalised_added_token_typed_by_a_user_is_text) {
  const auto tokenizer = load_golden("qwen");
  const TokenId cafe = *tokenizer->find_added_token("café");
  EXPECT_THAT(tokenizer->encode("cafe\u0301", AddedTokens::kMatch), ElementsAre(cafe));
  EXPECT_THAT(tokenizer->encode("cafe\u0301", AddedTokens::kPlain), Not(testing::Contains(cafe)));
  const std::vector<TextSegment> composed_across = {{"cafe", AddedTokens::kMatch}, {"\u0301", AddedTokens::kPlain}};
  EXPECT_THAT(tokenizer->encode(composed_across), Not(testing::Contains(cafe)));
}

TEST(Tokenizer, reads_broken_bytes_as_replacement_characters) {
  const auto tokenizer = load_golden("glm");
  EXPECT_EQ(tokenizer->encode("a\xFF\xC3z", AddedTokens::kPlain),
            tokenizer->encode("a\uFFFD\uFFFDz", AddedTokens::kPlain));
}

TEST(Tokenizer, knows_its_tokens) {
  const auto tokenizer = load_golden("glm");
  const TokenId user = *tokenizer->find_added_token("<|user|>");
  const TokenId think = *tokenizer->find_added_token("<think>");
  EXPECT_TRUE(tokenizer->is_added(user) && tokenizer->is_special(user));
  EXPECT_TRUE(tokenizer->is_added(think) && !tokenizer->is_special(think));
  EXPECT_FALSE(tokenizer->is_added(0));
  EXPECT_EQ(tokenizer->token_bytes(user), "<|user|>");
  EXPECT_EQ(tokenizer->decode(std::vector{user, think}, true), "<think>");
  EXPECT_EQ(tokenizer->decode(std::vector{user, think}, false), "<|user|><think>");
  EXPECT_EQ(tokenizer->find_added_token("nope"), std::nullopt);
  EXPECT_FALSE(tokenizer->token_bytes(tokenizer->vocab_size() - 1).empty());
  for (const TokenId id : {-1, tokenizer->vocab_size(), 1 << 30}) {
    EXPECT_THAT(tokenizer->token_bytes(id), IsEmpty());
    EXPECT_FALSE(tokenizer->is_added(id));
    EXPECT_EQ(tokenizer->decode(std::vector{id}, false), "");
  }
}

TEST(Tokenizer, every_id_of_the_built_in_model_has_text) {
  const auto tokenizer = Tokenizer::load(GALE_SOURCE_DIR "/models/nano-flash/tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (TokenId id = 0; id < (*tokenizer)->vocab_size(); ++id) EXPECT_FALSE((*tokenizer)->token_bytes(id).empty()) << id;
  EXPECT_TRUE((*tokenizer)->find_added_token("<|assistant|>"));
}

TEST(Detokenizer, holds_back_an_unfinished_code_point) {
  const auto tokenizer = load_golden("glm");
  std::vector<TokenId> ids;   // 🦎 in single bytes
  for (const char byte : std::string("\U0001F98E"))
    for (TokenId id = 0; id < tokenizer->vocab_size(); ++id)
      if (tokenizer->token_bytes(id) == std::string_view(&byte, 1)) ids.push_back(id);
  ASSERT_THAT(ids, SizeIs(4));
  Detokenizer detokenizer(*tokenizer, true);
  EXPECT_EQ(detokenizer.append(ids[0]), "");
  EXPECT_EQ(detokenizer.append(ids[1]), "");
  EXPECT_EQ(detokenizer.append(ids[2]), "");
  EXPECT_EQ(detokenizer.append(ids[3]), "\U0001F98E");
  EXPECT_EQ(detokenizer.append(ids[0]), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.finish(), "");
}

struct Damage {
  std::string name;
  std::string find;      // in the golden file
  std::string replace;
  std::string message;   // what the error says
};

class DamagedFile : public testing::TestWithParam<Damage> {};

TEST_P(DamagedFile, fails_with_one_line_that_says_where) {
  std::ifstream in(kGolden + "tokenizer_glm.json");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const size_t at = text.find(GetParam().find);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, GetParam().find.size(), GetParam().replace);
  const TempFolder folder;
  const std::string path = folder.write("tokenizer.json", text);
  const auto tokenizer = Tokenizer::load(path);
  ASSERT_FALSE(tokenizer);
  EXPECT_THAT(tokenizer.error().message, testing::StartsWith(path + ": "));
  EXPECT_THAT(tokenizer.error().message, HasSubstr(GetParam().message));
  EXPECT_THAT(tokenizer.error().message, Not(HasSubstr("\n")));
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(
    Files, DamagedFile,
    testing::Values(
        Damage{"truncated", "\"merges\":", "\"mer", "invalid JSON"},
        Damage{"kind", "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model.type: expected \"BPE\", got \"Unigram\""},
        Damage{"line_break", "\"type\":\"BPE\"", "\"type\":\"B\\nE\"", "model.type: expected \"BPE\", got \"B\\nE\""},
        Damage{"no_vocabulary", "\"vocab\":", "\"vocabulary\":", "model.vocab: expected an object"},
        Damage{"merge_part", "\"merges\":[[", "\"merges\":[[\"a\"],[", "model.merges[0]: expected two tokens"},
        Damage{"merge_of_unknown", "\"merges\":[[", "\"merges\":[[\"Ġ\",\"Ġzq\"],[", "\"Ġzq\" is not in model.vocab"},
        Damage{"repeated_id", "\"vocab\":{\"!\":0,\"\\\"\":1,", "\"vocab\":{\"!\":0,\"\\\"\":0,", "occurs twice"},
        Damage{"missing_byte", "\"vocab\":{\"!\":0,", "\"vocab\":{", "no token for the byte 0x21"},
        Damage{"id_is_text", "\"vocab\":{\"!\":0,", "\"vocab\":{\"!\":\"0\",",
               "model.vocab[\"!\"]: expected a token id"},
        Damage{"added_id", "\"added_tokens\":[{\"id\":700,", "\"added_tokens\":[{\"id\":0,",
               "model.vocab says otherwise"},
        Damage{"bad_pattern", "\\\\p{N}{1,3}", "\\\\p{N}{1,3}(", "pre_tokenizer: pattern:"},
        Damage{"other_step", "\"type\":\"Split\"", "\"type\":\"Metaspace\"", "\"Metaspace\" is not supported"},
        Damage{"normalizer", "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}",
               "\"Lowercase\" is not supported"}),
    [](const auto& info) { return info.param.name; });

TEST(Tokenizer, a_missing_file_is_named) {
  const auto tokenizer = Tokenizer::load("/nowhere/tokenizer.json");
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("/nowhere/tokenizer.json"));
}

}  // namespace
}  // namespace gale
