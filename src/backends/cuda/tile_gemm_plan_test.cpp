#include "backends/cuda/tile_gemm_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

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
  EXPECT_EQ(tokens_and_split(96, 4608, 32), std::pair(96, 3));
  EXPECT_EQ(tokens_and_split(96, 4608, 64), std::pair(96, 3));
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

TEST(TileGemmPlan, gives_every_tile_to_one_cluster_once) {
  for (const int num_clusters : {1, 2, 66, 132}) {
    for (const int num_wide : {0, 1, 131, 132, 214, 396}) {
      for (const int num_narrow : {0, 1, 64, 214}) {
        for (const int extra_rounds : {0, 1, 2}) {
          const TileShares shares{num_clusters, num_wide, num_narrow, extra_rounds};
          std::vector<int> times(static_cast<size_t>(num_wide + num_narrow));
          for (int cluster = 0; cluster < num_clusters; ++cluster) {
            bool is_narrow = false;
            int i = 0;
            for (int tile = 0; (tile = scheduled_tile(shares, cluster, i)) >= 0; ++i) {
              ASSERT_LT(tile, num_wide + num_narrow);
              ++times[static_cast<size_t>(tile)];
              ASSERT_TRUE(!is_narrow || tile >= num_wide) << "wide tiles come first";
              is_narrow = tile >= num_wide;
            }
            ASSERT_EQ(scheduled_tile(shares, cluster, i + 1), -1) << "nothing comes behind the end";
          }
          EXPECT_EQ(std::count(times.begin(), times.end(), 1), num_wide + num_narrow)
              << num_clusters << " clusters, " << num_wide << " wide, " << num_narrow << " narrow, " << extra_rounds;
        }
      }
    }
  }
}

TEST(TileGemmPlan, fills_up_with_narrow_tiles_where_wide_ones_leave_most_sms_idle) {
  const TileGemmPlan few_left = plan_tiles(384, 27392, 32), last_wave = plan_tiles(512, 27392, 32);
  EXPECT_TRUE(few_left.has_narrow_column);
  EXPECT_EQ(few_left.tokens, kWidestTile);
  EXPECT_FALSE(last_wave.has_narrow_column);
  EXPECT_EQ(last_wave.num_halved, 428 % kTileGemmSms);
  for (const int num_tokens : {257, 300, 384, 400, 512, 640, 1000, 4096}) {
    for (const int size_n : {136, 4096, 4608, 27392}) {
      const TileGemmPlan plan = plan_tiles(num_tokens, size_n, 32);
      const TileShares shares = shares_of({num_tokens, size_n, 32}, plan);
      const int rows = (size_n + 127) / 128,
                tokens = shares.num_wide * plan.tokens + shares.num_narrow * plan.tokens / 2;
      EXPECT_GE(tokens, rows * num_tokens);
      EXPECT_TRUE(plan.tokens == kWidestTile || shares.num_narrow == 0);
    }
  }
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
