#include "models/products.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gale {
namespace {

using ::testing::ElementsAre;

PackShape weight(int64_t num_matrices, int64_t num_rows, int64_t num_cols, RowOrder order = RowOrder::kPlain) {
  return {num_matrices, num_rows, num_cols, DType::kBF16, order, WeightFormat::kAsIs};
}

TEST(Products, are_told_apart_by_their_weights) {
  const std::vector<PackShape> weights = {weight(1, 151552, 4096), weight(1, 4608, 4096),
                                          weight(1, 27392, 4096, RowOrder::kGateUp), weight(1, 4608, 4096)};
  EXPECT_THAT(products_of(weights, {.vocab_size = 151552}),
              ElementsAre(ProductShape{ProductOp::kLogits, false, 151552, 4096},
                          ProductShape{ProductOp::kLinear, false, 4608, 4096},
                          ProductShape{ProductOp::kLinearSwiglu, false, 27392, 4096}));
}

TEST(Products, of_experts_count_the_shared_one_and_leave_heads_out) {
  const std::vector<PackShape> weights = {weight(20, 512, 192), weight(65, 3072, 2048, RowOrder::kGateUp),
                                          weight(65, 2048, 1536)};
  const ModelInfo info{.vocab_size = 154880, .num_experts = 64, .num_experts_a_token = 4};
  EXPECT_THAT(products_of(weights, info), ElementsAre(ProductShape{ProductOp::kMoeUp, false, 3072, 2048, 65, 5},
                                                      ProductShape{ProductOp::kMoeDown, false, 2048, 1536, 65, 5}));
}

TEST(Products, know_weights_that_become_e4m3) {
  PackShape shape = weight(1, 4608, 4096);
  shape.format = WeightFormat::kF8E4M3;
  EXPECT_TRUE(products_of(std::vector{shape}, {}).front().is_fp8);
}

}  // namespace
}  // namespace gale
