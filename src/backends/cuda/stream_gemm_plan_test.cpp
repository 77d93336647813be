#include "backends/cuda/stream_gemm_plan.h"

#include <gtest/gtest.h>

namespace gale::cuda {
namespace {

TEST(StreamGemmPlan, covers_every_row_and_token) {
  for (const int num_tokens : {1, 8, 64, 65, 128, 129, 300, 1024, 8192}) {
    for (const int size_n : {1, 128, 136, 1344, 4096, 27392}) {
      const StreamGemmPlan plan = plan_dense(num_tokens, size_n, 64, 1);
      const int rows = plan.tile == TileSize::kLarge ? 256 : 128, tokens = tokens_of(plan.tile);
      EXPECT_GE(plan.num_row_tiles * rows, size_n);
      EXPECT_GE(plan.num_token_tiles * tokens, num_tokens);
      EXPECT_TRUE(plan.tile != TileSize::kLarge || plan.num_token_tiles % 2 == 0) << "large tiles go in pairs";
    }
  }
}

TEST(StreamGemmPlan, shares_k_only_where_tiles_are_few_and_k_is_long) {
  EXPECT_EQ(plan_dense(1, 27392, 64, 1).cluster_size, 1);
  EXPECT_GT(plan_dense(1, 4096, 64, 1).cluster_size, 1);
  EXPECT_EQ(plan_dense(1, 512, 3, 1).cluster_size, 1) << "three blocks of K are not worth sharing";
  EXPECT_LE(plan_dense(1, 128, 1000, 1).cluster_size, 8) << "what a cluster may hold everywhere";
}

TEST(StreamGemmPlan, counts_token_tiles_of_experts_for_the_worst_spread) {
  for (const int num_rows : {1, 5, 320, 5000, 40960}) {
    for (const int num_experts : {1, 65, 129}) {
      for (const bool is_fp8 : {false, true}) {
        const StreamGemmPlan plan = plan_experts(num_rows, num_experts, 3072, 32, is_fp8);
        const int tokens = tokens_of(plan.tile), touched = std::min(num_rows, num_experts);
        // One row for each expert but one, which takes the rest.
        EXPECT_GE(plan.num_token_tiles, touched - 1 + (num_rows - touched + 1 + tokens - 1) / tokens);
      }
    }
  }
}

TEST(StreamGemmPlan, experts_of_few_rows_take_narrow_tiles) {
  const auto tile_of = [](int num_tokens, bool is_fp8) {
    return plan_experts(num_tokens * 9, 129, 2816, 32, is_fp8).tile;
  };
  EXPECT_EQ(tile_of(64, true), TileSize::kNarrow);
  EXPECT_EQ(tile_of(128, true), TileSize::kNarrow);
  EXPECT_EQ(tile_of(256, true), TileSize::kSmall);
  EXPECT_EQ(tile_of(64, false), TileSize::kNarrow);
  EXPECT_EQ(tile_of(128, false), TileSize::kSmall);
  EXPECT_EQ(tile_of(1024, true), TileSize::kMid);
}

}  // namespace
}  // namespace gale::cuda
