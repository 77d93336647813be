#include "backends/cuda/mla_prefill_plan.h"

#include <gtest/gtest.h>

namespace gale::cuda {
namespace {

constexpr int kHeads = 20;   // of GLM-4.7-Flash

TEST(MlaPrefillPlan, whole_prompts_are_expanded) {
  for (const int length : {256, 1024, 8192, 131'072}) EXPECT_TRUE(is_expanded_faster(length, length, kHeads)) << length;
}

// Measured beside 400 answers on an H200: 160 such tokens took 280 us a layer absorbed, and about 50 expanded.
TEST(MlaPrefillPlan, what_is_left_of_a_prompt_is_expanded) {
  for (const int rest : {64, 120, 160}) EXPECT_TRUE(is_expanded_faster(rest, 1024, kHeads)) << rest;
}

TEST(MlaPrefillPlan, a_few_tokens_are_absorbed) {
  for (const int seq_len : {16, 1024, 131'072})
    for (const int queries : {1, 2, 8})
      EXPECT_FALSE(is_expanded_faster(queries, seq_len, kHeads)) << queries << " of " << seq_len;
}

// Making keys and values of 131,072 tokens takes 2.3 ms, attending them 3.4; absorbed, a query takes 0.06.
TEST(MlaPrefillPlan, some_tokens_over_a_long_context_are_absorbed) {
  EXPECT_FALSE(is_expanded_faster(32, 131'072, kHeads));
  EXPECT_TRUE(is_expanded_faster(128, 131'072, kHeads));
}

TEST(MlaPrefillPlan, more_tokens_never_go_back_to_the_absorbed_form) {
  for (const int seq_len : {512, 4096, 65'536}) {
    bool was_expanded = false;
    for (int queries = 1; queries <= 512; ++queries) {
      const bool is_expanded = is_expanded_faster(queries, seq_len, kHeads);
      EXPECT_TRUE(is_expanded || !was_expanded) << queries << " of " << seq_len;
      was_expanded = is_expanded;
    }
  }
}

}  // namespace
}  // namespace gale::cuda
