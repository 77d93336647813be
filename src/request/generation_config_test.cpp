#include "request/generation_config.h"

#include <gtest/gtest.h>

#include "base/temp_folder_testing.h"

namespace gale {
namespace {

class GenerationConfig : public testing::Test {
 protected:
  void write(const char* name, const char* text) const { folder_.write(name, text); }
  Result<GenerationDefaults> load() const { return load_generation_defaults(folder_.path().string()); }
  TempFolder folder_;
};

TEST_F(GenerationConfig, takes_sampling_and_eos_from_generation_config) {
  write("generation_config.json", R"({"eos_token_id":[3,4],"temperature":0.8,"top_k":2,"top_p":0.6})");
  const auto defaults = load();
  ASSERT_TRUE(defaults) << defaults.error().message;
  EXPECT_EQ(defaults->eos_token_ids, (std::vector<TokenId>{3, 4}));
  EXPECT_FLOAT_EQ(*defaults->temperature, 0.8F);
  EXPECT_EQ(defaults->top_k, 2);
  EXPECT_FALSE(defaults->min_p);
}

TEST_F(GenerationConfig, falls_back_to_the_eos_of_the_text_config) {
  write("config.json", R"({"text_config":{"eos_token_id":7}})");
  const auto defaults = load();
  ASSERT_TRUE(defaults) << defaults.error().message;
  EXPECT_EQ(defaults->eos_token_ids, (std::vector<TokenId>{7}));
}

TEST_F(GenerationConfig, do_sample_false_means_greedy) {
  write("generation_config.json", R"({"eos_token_id":3,"do_sample":false,"temperature":0.8})");
  EXPECT_FLOAT_EQ(*load()->temperature, 0.0F);
}

TEST_F(GenerationConfig, names_the_file_and_key_that_are_wrong) {
  write("generation_config.json", R"({"eos_token_id":3,"temperature":"hot"})");
  const auto wrong = load();
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("generation_config.json: \"temperature\" must be a number"), std::string::npos);
  write("generation_config.json", R"({"eos_token_id":[-1]})");
  EXPECT_FALSE(load());
  write("generation_config.json", "{}");
  write("config.json", "{}");
  EXPECT_NE(load().error().message.find("eos_token_id"), std::string::npos);
}

}  // namespace
}  // namespace gale
