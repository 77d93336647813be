#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/cpu_backend.h"
#include "ops/op.h"

namespace gale {
namespace {

constexpr int kVocabulary = 70;   // not a multiple of a mask word

struct TestRow {
  SamplingParams sampling;
  StopCondition stop;
  std::vector<TokenId> tokens = {1, 2, 3};
  int num_prompt_tokens = 3;
  std::vector<float> logits = std::vector<float>(kVocabulary, 0.0F);
};

TestRow greedy_row(TokenId best) {
  TestRow row;
  row.sampling.temperature = 0;
  row.logits[static_cast<size_t>(best)] = 5;
  return row;
}

class SamplerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto sampler =
        Sampler::create(*device_, {.vocab_size = kVocabulary, .num_valid_tokens = 68, .max_model_len = 4096});
    ASSERT_TRUE(sampler);
    sampler_ = std::move(*sampler);
  }
  Tensor load(const std::vector<TestRow>& rows) {
    memory_.clear();
    for (const TestRow& row : rows) memory_.insert(memory_.end(), row.logits.begin(), row.logits.end());
    return Tensor::contiguous(memory_.data(), DType::kF32, {static_cast<int64_t>(rows.size()), kVocabulary});
  }
  std::vector<SampledToken> draw(const std::vector<TestRow>& rows) {
    std::vector<SamplerRow> views;
    for (const TestRow& row : rows) views.push_back({&row.sampling, &row.stop, row.tokens, row.num_prompt_tokens});
    return sampler_->sample(ops_, load(rows), views);
  }
  TokenId draw_one(const TestRow& row) { return draw({row})[0].token; }

  std::unique_ptr<Device> device_ = make_cpu_device(1);
  std::unique_ptr<Stream> stream_ = device_->make_stream();
  OpContext ops_{*stream_, cpu_op_table(), device_->caps()};
  std::unique_ptr<Sampler> sampler_;
  std::vector<float> memory_;
};

TEST_F(SamplerTest, greedy_takes_the_largest_of_each_row) {
  const auto drawn = draw({greedy_row(4), greedy_row(67), greedy_row(0)});
  EXPECT_EQ(drawn[0].token, 4);
  EXPECT_EQ(drawn[1].token, 67);
  EXPECT_EQ(drawn[2].token, 0);
  EXPECT_FALSE(drawn[0].logprobs);
}

TEST_F(SamplerTest, ids_without_text_are_never_drawn) {
  TestRow row = greedy_row(69);
  row.logits[11] = 1;
  EXPECT_EQ(draw_one(row), 11);
}

TEST_F(SamplerTest, a_draw_does_not_depend_on_the_batch_around_it) {
  TestRow row;
  row.sampling.seed = 42;
  const TokenId alone = draw_one(row);
  std::vector<TestRow> rows(7);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].sampling.seed = i;
  rows[5] = row;
  EXPECT_EQ(draw(rows)[5].token, alone);
}

TEST_F(SamplerTest, seed_and_position_both_change_the_draw) {
  int num_other_seed = 0, num_other_position = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    TestRow row, later;
    row.sampling.seed = later.sampling.seed = seed;
    later.tokens.push_back(4);
    TestRow next = row;
    next.sampling.seed = seed + 1000;
    num_other_seed += draw_one(row) != draw_one(next) ? 1 : 0;
    num_other_position += draw_one(row) != draw_one(later) ? 1 : 0;
  }
  EXPECT_GT(num_other_seed, 10);
  EXPECT_GT(num_other_position, 10);
}

TEST_F(SamplerTest, bias_moves_one_token_of_one_row) {
  TestRow row = greedy_row(4);
  row.sampling.logit_bias = {{9, 6.0F}, {4, -1.0F}};
  const auto drawn = draw({greedy_row(4), row});
  EXPECT_EQ(drawn[0].token, 4);
  EXPECT_EQ(drawn[1].token, 9);
}

TEST_F(SamplerTest, only_allowed_ids_are_drawn) {
  TestRow row = greedy_row(4);
  row.sampling.allowed_token_ids = {33, 64};
  row.logits[64] = 1;
  EXPECT_EQ(draw_one(row), 64);
}

TEST_F(SamplerTest, bad_words_do_not_come) {
  TestRow row = greedy_row(4);
  row.logits[5] = 1;
  row.sampling.bad_words = {{4}};
  EXPECT_EQ(draw_one(row), 5);
  row.sampling.bad_words = {{8, 7, 4}};      // only behind its beginning, and only in the output
  row.tokens = {1, 8, 7};
  EXPECT_EQ(draw_one(row), 4);
  row.tokens = {1, 2, 3, 9, 8};
  EXPECT_EQ(draw_one(row), 4);
  row.tokens = {1, 2, 3, 9, 8, 7};
  EXPECT_EQ(draw_one(row), 5);
}

TEST_F(SamplerTest, stop_ids_wait_for_min_tokens) {
  TestRow row = greedy_row(4);
  row.logits[5] = 1;
  row.stop.stop_token_ids = {4};
  row.stop.min_tokens = 2;
  row.tokens = {1, 2, 3, 8};   // one output token
  EXPECT_EQ(draw_one(row), 5);
  row.tokens.push_back(8);
  EXPECT_EQ(draw_one(row), 4);
}

TEST_F(SamplerTest, presence_and_frequency_look_at_the_output_only) {
  TestRow row = greedy_row(4);
  row.logits[5] = 4.5F;
  row.sampling.presence_penalty = 1;
  row.tokens = {4, 4, 4};
  EXPECT_EQ(draw_one(row), 4) << "seen in the prompt";
  row.tokens = {1, 2, 3, 4};
  EXPECT_EQ(draw_one(row), 5);
  row.sampling.presence_penalty = 0;
  row.sampling.frequency_penalty = 0.3F;
  EXPECT_EQ(draw_one(row), 4) << "once";
  row.tokens = {1, 2, 3, 4, 4};
  EXPECT_EQ(draw_one(row), 5) << "twice";
}

TEST_F(SamplerTest, repetition_looks_at_the_prompt_too) {
  TestRow row = greedy_row(3);
  row.logits[5] = 4.5F;
  row.sampling.repetition_penalty = 1.2F;
  EXPECT_EQ(draw_one(row), 5);
}

TEST_F(SamplerTest, a_penalty_in_one_row_leaves_the_others_and_the_next_step_alone) {
  TestRow penalised = greedy_row(3), plain = greedy_row(3);
  penalised.sampling.repetition_penalty = 10;
  penalised.logits[5] = plain.logits[5] = 4.5F;
  const auto drawn = draw({plain, penalised, plain});
  EXPECT_EQ(drawn[0].token, 3);
  EXPECT_EQ(drawn[1].token, 5);
  EXPECT_EQ(drawn[2].token, 3);
  EXPECT_EQ(draw_one(penalised), 5);
}

TEST_F(SamplerTest, a_long_history_travels_in_pieces) {
  TestRow row = greedy_row(3);
  row.logits[60] = 4.9F;
  row.sampling.repetition_penalty = 1.2F;
  for (int i = 0; i < 100'000; ++i) row.tokens.push_back(i % 60);
  const std::vector<TestRow> rows(Sampler::kMaxRows, row);
  for (const SampledToken& drawn : draw(rows)) EXPECT_EQ(drawn.token, 60);
}

TEST_F(SamplerTest, logprobs_tell_the_distribution_before_bias_and_penalties) {
  TestRow row = greedy_row(4);
  row.logits[6] = 3;
  row.sampling.logit_bias = {{9, 100.0F}};
  row.sampling.num_logprobs = 2;
  TestRow other = greedy_row(8);
  other.sampling.num_logprobs = 0;
  const auto drawn = draw({row, other, greedy_row(1)});
  EXPECT_EQ(drawn[0].token, 9);
  ASSERT_TRUE(drawn[0].logprobs);
  const double sum = std::exp(5.0) + std::exp(3.0) + 66;   // of the 68 valid ids
  EXPECT_NEAR(drawn[0].logprobs->chosen.logprob, -std::log(sum), 1e-4);
  EXPECT_EQ(drawn[0].logprobs->chosen.rank, 3);
  ASSERT_EQ(drawn[0].logprobs->top.size(), 2U);
  EXPECT_EQ(drawn[0].logprobs->top[0].token, 4);
  EXPECT_NEAR(drawn[0].logprobs->top[1].logprob, 3 - std::log(sum), 1e-4);
  EXPECT_EQ(drawn[0].logprobs->top[1].rank, 2);
  ASSERT_TRUE(drawn[1].logprobs);
  EXPECT_TRUE(drawn[1].logprobs->top.empty());
  EXPECT_FALSE(drawn[2].logprobs);
}

TEST_F(SamplerTest, a_row_that_is_not_a_number_is_marked_and_the_others_are_fine) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kNan, kInfinity}) {
    for (const size_t place : {size_t{0}, size_t{4}, size_t{67}}) {
      TestRow row = greedy_row(4);
      row.logits[place] = bad;
      const auto drawn = draw({greedy_row(4), row, greedy_row(4)});
      EXPECT_TRUE(drawn[0].is_valid && drawn[2].is_valid);
      EXPECT_FALSE(drawn[1].is_valid) << bad << " at " << place;
    }
  }
}

TEST_F(SamplerTest, a_row_with_nothing_left_to_draw_is_marked) {
  TestRow row = greedy_row(4);
  row.sampling.allowed_token_ids = {4};
  row.stop = {.stop_token_ids = {4}, .min_tokens = 5};
  EXPECT_FALSE(draw({row})[0].is_valid);
}

TEST_F(SamplerTest, logprobs_of_given_tokens) {
  const std::vector<TestRow> rows = {greedy_row(4), greedy_row(5)};
  const std::vector<TokenId> tokens = {4, 6};
  const auto told = sampler_->logprobs_of(ops_, load(rows), tokens, 1);
  const double sum = std::exp(5.0) + 67;
  EXPECT_NEAR(told[0].chosen.logprob, 5 - std::log(sum), 1e-4);
  EXPECT_EQ(told[0].chosen.rank, 1);
  EXPECT_NEAR(told[1].chosen.logprob, -std::log(sum), 1e-4);
  EXPECT_EQ(told[1].top.at(0).token, 5);
}

TEST(Sampler, refuses_ids_beyond_the_vocabulary_and_too_many_logprobs) {
  SamplingParams sampling;
  EXPECT_FALSE(Sampler::check(sampling, 100));
  sampling.logit_bias = {{100, 1.0F}};
  EXPECT_EQ(Sampler::check(sampling, 100)->param, "logit_bias");
  sampling.logit_bias.clear();
  sampling.allowed_token_ids = {-1};
  EXPECT_EQ(Sampler::check(sampling, 100)->param, "allowed_token_ids");
  sampling.allowed_token_ids.clear();
  sampling.bad_words = {{1, 100}};
  EXPECT_EQ(Sampler::check(sampling, 100)->param, "bad_words");
  sampling.bad_words.clear();
  sampling.num_prompt_logprobs = 129;
  EXPECT_EQ(Sampler::check(sampling, 1000)->param, "logprobs");
}

}  // namespace
}  // namespace gale
