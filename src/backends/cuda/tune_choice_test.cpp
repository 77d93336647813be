#include "backends/cuda/tune_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace gale::cuda {
namespace {

using ::testing::ElementsAre;

constexpr Candidate kHeuristic, kSkinny{ProductKernel::kSkinny, 16, 1}, kStream{ProductKernel::kStream, 64, 1};
constexpr Precision kPlain{.is_fp8 = false, .is_rounded = false}, kRounded{.is_fp8 = true, .is_rounded = true};

TEST(MeasuredTokens, stand_for_a_bucket) {
  EXPECT_THAT(measured_tokens(ProductOp::kLinear, 8), ElementsAre(1, 4, 8));
  EXPECT_THAT(measured_tokens(ProductOp::kMoeUp, 2), ElementsAre(1, 2));
  EXPECT_THAT(measured_tokens(ProductOp::kLinear, kNoBound), ElementsAre(4097, 6144, 8192));
  EXPECT_THAT(measured_tokens(ProductOp::kLogits, kNoBound), ElementsAre(769, 896, 1024));
}

TEST(Fastest, is_the_heuristic_unless_another_gains_more_than_noise) {
  EXPECT_EQ(fastest(std::vector<Measurement>{{kHeuristic, {10, 10}}, {kSkinny, {9.8, 9.8}}}), 0u);
  EXPECT_EQ(fastest(std::vector<Measurement>{{kHeuristic, {10, 10}}, {kSkinny, {9.5, 9.5}}, {kStream, {9, 9}}}), 2u);
}

TEST(Fastest, is_never_slower_at_one_end_of_its_bucket) {
  EXPECT_EQ(fastest(std::vector<Measurement>{{kHeuristic, {10, 10}}, {kSkinny, {5, 10.5}}}), 0u);
}

TEST(Fastest, is_never_what_computed_something_else) {
  EXPECT_EQ(fastest(std::vector<Measurement>{{kHeuristic, {10}}, {kSkinny, {}}}), 0u);
}

TEST(Agree, allows_another_order_of_sums_and_nothing_else) {
  const std::vector<float> expected = {1, -2, 3, 0};
  EXPECT_TRUE(agree(expected, std::vector<float>{1.004f, -2.01f, 3.01f, 0.01f}, kPlain));
  EXPECT_FALSE(agree(expected, std::vector<float>{1, -2, 3, 0.5f}, kPlain));
  EXPECT_FALSE(agree(expected, std::vector<float>{1, 2, 3, 0}, kPlain));
  EXPECT_FALSE(agree(expected, std::vector<float>{1, -2, 3}, kPlain));
  EXPECT_TRUE(agree(expected, std::vector<float>{1.1f, -2.2f, 3.3f, 0}, kRounded)) << "a step of e4m3";
  EXPECT_FALSE(agree(expected, std::vector<float>{2, -2, 3, 0}, kRounded));
}

TEST(Agree, with_no_nan_on_either_side) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(agree(std::vector<float>{1}, std::vector<float>{nan}, kPlain));
  EXPECT_FALSE(agree(std::vector<float>{nan}, std::vector<float>{nan}, kPlain));
}

TEST(Bound, is_of_weights_for_few_tokens_and_of_arithmetic_for_many) {
  const ProductShape dense{.op = ProductOp::kLinear, .num_rows = 4608, .num_cols = 4096};
  EXPECT_NEAR(bound_of(dense, 1), 4608 * 4096 * 2 / 3.0e6, 0.1);
  EXPECT_NEAR(bound_of(dense, 4096), 2.0 * 4096 * 4608 * 4096 / 680e6, 1);
  const ProductShape experts{
      .op = ProductOp::kMoeUp, .num_rows = 3072, .num_cols = 2048, .num_matrices = 65, .num_chosen = 5};
  EXPECT_NEAR(bound_of(experts, 1), 5 * 3072 * 2048 * 2 / 3.0e6, 0.1);
}

}  // namespace
}  // namespace gale::cuda
