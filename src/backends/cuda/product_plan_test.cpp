#include "backends/cuda/product_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace gale::cuda {
namespace {

using ::testing::Contains;
using ::testing::Not;

constexpr ProductShape kQkv{.op = ProductOp::kLinear, .num_rows = 4608, .num_cols = 4096};
constexpr ProductShape kGateUp{.op = ProductOp::kLinearSwiglu, .num_rows = 27392, .num_cols = 4096};
constexpr ProductShape kLogits{.op = ProductOp::kLogits, .num_rows = 151552, .num_cols = 4096};
constexpr ProductShape kUp{
    .op = ProductOp::kMoeUp, .num_rows = 3072, .num_cols = 2048, .num_matrices = 65, .num_chosen = 5};
constexpr ProductShape kDown{
    .op = ProductOp::kMoeDown, .num_rows = 2048, .num_cols = 1536, .num_matrices = 65, .num_chosen = 5};
constexpr ProductShape kAll[] = {kQkv, kGateUp, kLogits, kUp, kDown};

ProductShape fp8(ProductShape shape) {
  shape.is_fp8 = true;
  return shape;
}

std::vector<std::string> names(const ProductShape& shape, int bucket) {
  std::vector<std::string> out;
  for (const Candidate& candidate : candidates_of(shape, bucket)) out.push_back(name_of(candidate));
  return out;
}

// What ran before there were tables.
TEST(FirstChoice, is_by_the_thresholds_that_were_measured) {
  EXPECT_EQ(name_of(first_choice(kQkv, 1)), "skinny:32");
  EXPECT_EQ(name_of(first_choice(kQkv, 64)), "skinny:32");
  EXPECT_EQ(name_of(first_choice(kQkv, 128)), "tile:128:3");
  EXPECT_EQ(name_of(first_choice(fp8(kQkv), 128)), "tile:128:3");
  EXPECT_EQ(name_of(first_choice(fp8(kQkv), 512)), "tile:192:1");
  EXPECT_EQ(name_of(first_choice(kGateUp, 1)), "stream:64:1") << "too many rows, and SwiGLU";
  EXPECT_EQ(name_of(first_choice(kLogits, 8)), "stream:64:1");
  EXPECT_EQ(name_of(first_choice(kUp, 1)), "stream:64:1");
  EXPECT_EQ(name_of(first_choice(kUp, 1024)), "wide");
  EXPECT_EQ(name_of(first_choice(kDown, 2)), "few");
  EXPECT_EQ(name_of(first_choice(kDown, 3)), "stream:64:1");
}

TEST(DensePlan, without_a_table_is_that_of_the_plans_themselves) {
  for (const int num_tokens : {1, 8, 64, 65, 128, 300, 512, 4096}) {
    for (const int size_n : {16, 1344, 4608, 27392, 151552}) {
      const DenseCall call{.num_tokens = num_tokens, .size_n = size_n, .num_k_blocks = 32};
      const DensePlan plan = plan_dense_product(call, {});
      if (num_tokens >= kMinTileTokens) {
        const TileGemmPlan tiles = plan_tiles(num_tokens, size_n, 32);
        EXPECT_EQ(plan.kernel, (Candidate{ProductKernel::kTile, tiles.tokens, tiles.split}));
        EXPECT_EQ(plan.tiles.num_halved, tiles.num_halved);
      } else if (skinny_rows(size_n, 32) > 0) {
        EXPECT_EQ(plan.kernel, (Candidate{ProductKernel::kSkinny, skinny_rows(size_n, 32), 1}));
      } else {
        EXPECT_EQ(plan.stream.cluster_size, plan_dense(num_tokens, size_n, 32, 1).cluster_size);
      }
    }
  }
}

TEST(DensePlan, of_heads_and_of_operands_that_lie_badly_is_the_streams) {
  const DenseCall heads{
      .num_tokens = 128, .size_n = 512, .num_k_blocks = 3, .num_heads = 20, .can_tile = false, .can_skinny = false};
  EXPECT_EQ(plan_dense_product(heads, {}).kernel.kernel, ProductKernel::kStream);
  const Candidate tile{ProductKernel::kTile, 128, 1}, skinny{ProductKernel::kSkinny, 16, 1};
  EXPECT_EQ(plan_dense_product(heads, tile).kernel.kernel, ProductKernel::kStream) << "it cannot take what is wanted";
  EXPECT_EQ(plan_dense_product(heads, skinny).kernel.kernel, ProductKernel::kStream);
}

TEST(DensePlan, of_small_bf16_weights_and_few_tokens_is_gemv) {
  constexpr Candidate kGemv{ProductKernel::kGemv, 0, 1};
  const DenseCall small{.num_tokens = kMaxGemvTokens, .size_n = 2048, .num_k_blocks = 80, .can_gemv = true};   // 20 MiB
  EXPECT_EQ(plan_dense_product(small, {}).kernel, kGemv);
  DenseCall other = small;
  other.num_tokens = kMaxGemvTokens + 1;
  EXPECT_NE(plan_dense_product(other, {}).kernel, kGemv);
  EXPECT_NE(plan_dense_product(other, kGemv).kernel, kGemv) << "it cannot take what is wanted";
  other = small, other.can_gemv = false;
  EXPECT_NE(plan_dense_product(other, {}).kernel, kGemv);
  other = small, other.size_n = 4096;
  EXPECT_NE(plan_dense_product(other, {}).kernel, kGemv) << "40 MiB";
  EXPECT_EQ(plan_dense_product(other, kGemv).kernel, kGemv) << "a table may know better";
  const DenseCall heads{.num_tokens = 1, .size_n = 512, .num_k_blocks = 3, .num_heads = 20, .can_tile = false,
                        .can_skinny = false, .can_gemv = true};
  EXPECT_EQ(plan_dense_product(heads, {}).kernel, kGemv);
}

TEST(DensePlan, takes_what_is_wanted_whatever_the_tokens_of_its_bucket) {
  for (const ProductShape& shape : {kQkv, kGateUp, kLogits, fp8(kQkv), fp8(kGateUp)}) {
    for (const int bucket : bucket_bounds(shape.op)) {
      for (const Candidate& wanted : candidates_of(shape, bucket)) {
        if (wanted == Candidate{}) continue;
        for (const int num_tokens : {first_of_bucket(shape.op, bucket), std::min(bucket, 8192)}) {
          const DensePlan plan =
              plan_dense_product({.num_tokens = num_tokens, .size_n = static_cast<int>(shape.num_rows),
                                  .num_k_blocks = blocks_of_k(shape), .can_gemv = !shape.is_fp8},
                                 wanted);
          ASSERT_EQ(plan.kernel, wanted) << describe(shape) << " of " << num_tokens << ", " << name_of(wanted);
          if (wanted.kernel == ProductKernel::kTile) {
            EXPECT_EQ(plan.tiles.tokens, wanted.size);
            EXPECT_EQ(plan.tiles.split, wanted.split) << "one order of sums in a bucket";
          }
          if (wanted.kernel != ProductKernel::kStream) continue;
          const int tokens = wanted.size == 64 ? 64 : 128, rows = wanted.size == 256 ? 256 : 128;
          EXPECT_GE(plan.stream.num_token_tiles * tokens, num_tokens);
          EXPECT_GE(plan.stream.num_row_tiles * rows, shape.num_rows);
        }
      }
    }
  }
}

TEST(ExpertPlan, counts_token_tiles_of_what_is_wanted_for_the_worst_spread) {
  for (const int num_rows : {5, 320, 5000}) {
    for (const int size : {64, 128}) {
      const Candidate wanted{ProductKernel::kStream, size, 2};
      const ExpertPlan plan =
          plan_expert_product({.num_rows = num_rows, .num_experts = 65, .size_n = 3072, .num_k_blocks = 32}, wanted);
      ASSERT_EQ(plan.kernel, wanted);
      const int touched = std::min(num_rows, 65);
      EXPECT_GE(plan.stream.num_token_tiles, touched - 1 + (num_rows - touched + 1 + size - 1) / size);
      EXPECT_EQ(plan.stream.cluster_size, 2);
    }
  }
  const Candidate wide{ProductKernel::kWide, 0, 1};
  const ExpertCall few{.num_rows = 40, .num_experts = 65, .size_n = 3072, .num_k_blocks = 32, .can_wide = false};
  EXPECT_EQ(plan_expert_product(few, wide).kernel, (Candidate{ProductKernel::kStream, 16, 1}));
}

TEST(Buckets, hold_every_number_of_tokens_once) {
  for (const ProductShape& shape : kAll) {
    int next = 1;
    for (const int bucket : bucket_bounds(shape.op)) {
      EXPECT_EQ(first_of_bucket(shape.op, bucket), next);
      EXPECT_EQ(bucket_of(shape.op, next), bucket);
      EXPECT_EQ(bucket_of(shape.op, bucket), bucket);
      next = bucket + 1;
    }
    EXPECT_EQ(bucket_of(shape.op, int64_t{1} << 40), kNoBound);
  }
}

// device/skinny_gemm.cuh adds up in as many groups as its tokens leave room for.
TEST(Buckets, end_where_the_order_of_sums_may_change) {
  for (int num_tokens = 1; num_tokens <= kMaxSkinnyTokens; ++num_tokens)
    EXPECT_EQ(bucket_of(ProductOp::kLinear, num_tokens), skinny_tokens(num_tokens));
}

TEST(Candidates, have_names_that_find_them_and_begin_with_the_heuristic) {
  for (const ProductShape& shape : kAll) {
    for (const ProductShape& product : {shape, fp8(shape)}) {
      for (const int bucket : bucket_bounds(shape.op)) {
        const std::vector<Candidate> candidates = candidates_of(product, bucket);
        EXPECT_EQ(candidates.front(), Candidate{});
        std::set<std::string> seen;
        for (const Candidate& candidate : candidates) {
          EXPECT_TRUE(seen.insert(name_of(candidate)).second) << name_of(candidate);
          EXPECT_EQ(find_candidate(product, bucket, name_of(candidate)), candidate);
        }
      }
    }
  }
  EXPECT_EQ(find_candidate(kQkv, 8, "tile:128:1"), std::nullopt);
}

TEST(Candidates, are_those_that_the_product_can_take) {
  EXPECT_THAT(names(kQkv, 8), Contains("skinny:16"));
  EXPECT_THAT(names(kLogits, 8), Not(Contains("skinny:16"))) << "its results are f32";
  EXPECT_THAT(names(kDown, 2), Contains("few"));
  EXPECT_THAT(names(kDown, 8), Not(Contains("few")));
  const ProductShape short_k{.op = ProductOp::kLinear, .num_rows = 1344, .num_cols = 256};
  EXPECT_THAT(names(short_k, 128), Not(Contains("tile:128:2"))) << "four blocks of K are not worth sharing";
}

TEST(Candidates, never_add_more_coarsely_than_the_heuristic) {
  EXPECT_THAT(names(kUp, 256), Contains("wide"));
  EXPECT_THAT(names(fp8(kUp), 256), Not(Contains("wide"))) << "the heuristic takes sums out every 128 of K";
  EXPECT_THAT(names(fp8(kUp), 1024), Contains("wide"));
}

}  // namespace
}  // namespace gale::cuda
