#include "backends/cuda/tile_gemm_plan.h"

#include <gtest/gtest.h>

#include <array>
#include <iterator>
#include <set>
#include <utility>

namespace gale::cuda {
namespace {

TEST(TileGemmPlan, shares_k_only_where_every_block_has_an_sm_and_a_share) {
  for (const int num_tokens : {65, 96, 128, 129, 256, 300, 640, 1024, 8192}) {
    for (const int size_n : {1, 136, 1344, 4096, 4608, 27392, 151552}) {
      for (const int num_k_blocks : {1, 3, 8, 32, 107}) {
        const TileGemmPlan plan = plan_tiles(num_tokens, size_n, num_k_blocks);
        const int tiles = (size_n + 127) / 128 * ((num_tokens + plan.tokens - 1) / plan.tokens);
        ASSERT_GT(plan.tokens, 0);
        EXPECT_TRUE(plan.split == 1 || tiles * plan.split <= kTileGemmSms);
        EXPECT_LE(plan.split, num_k_blocks);
      }
    }
  }
}

TEST(TileGemmPlan, takes_what_was_measured_best_or_a_hundredth_more) {
  const auto tokens_and_split = [](int num_tokens, int size_n, int num_k_blocks) {
    const TileGemmPlan plan = plan_tiles(num_tokens, size_n, num_k_blocks);
    return std::pair(plan.tokens, plan.split);
  };
  EXPECT_EQ(tokens_and_split(128, 4608, 32), std::pair(128, 3));
  EXPECT_EQ(tokens_and_split(256, 4608, 32), std::pair(96, 1));
  EXPECT_EQ(tokens_and_split(512, 4608, 32), std::pair(192, 1));
  EXPECT_EQ(tokens_and_split(512, 4096, 32), std::pair(128, 1));
  EXPECT_EQ(tokens_and_split(1024, 4096, 32), std::pair(256, 1));
  EXPECT_EQ(tokens_and_split(192, 27392, 32), std::pair(192, 1));
  EXPECT_EQ(tokens_and_split(256, 27392, 32), std::pair(256, 1));
  EXPECT_EQ(tokens_and_split(384, 4096, 107), std::pair(192, 2));
  EXPECT_EQ(tokens_and_split(640, 4096, 107), std::pair(160, 1));
}

// Those of tests/ops/linear_cases.cpp, whose cases must meet every width.
TEST(TileGemmPlan, chooses_each_width_for_the_sizes_that_are_tested) {
  std::set<int> widths;
  for (const auto& [num_tokens, size_n, num_cols] :
       {std::array{65, 136, 2048}, {101, 144, 2048}, {131, 144, 2048}, {190, 8712, 256}, {200, 8704, 256}})
    widths.insert(plan_tiles(num_tokens, size_n, num_cols / kBytesOfKBlock).tokens);
  EXPECT_EQ(widths, std::set<int>(std::begin(kTileGemmTokens), std::end(kTileGemmTokens)));
  EXPECT_EQ(plan_tiles(65, 136, 2048 / kBytesOfKBlock).split, 3);
}

TEST(SkinnyGemmPlan, covers_all_rows_with_blocks_that_run_at_once) {
  for (const int size_n : {1, 16, 1344, 2048, 4096, 4608, 5120, 8448}) {
    const int rows = skinny_rows(size_n, 32);
    ASSERT_TRUE(rows == 16 || rows == 32);
    EXPECT_LE((size_n + rows - 1) / rows, 2 * kTileGemmSms);
  }
  EXPECT_EQ(skinny_rows(27392, 32), 0);
  EXPECT_EQ(skinny_rows(4096, 32), 32);
  EXPECT_EQ(skinny_rows(4096, 107), 16) << "finer blocks pay where each streams for long";
  for (const int num_tokens : {1, 8, 9, 16, 17, 32, 33, 64}) EXPECT_GE(skinny_tokens(num_tokens), num_tokens);
}

}  // namespace
}  // namespace gale::cuda
