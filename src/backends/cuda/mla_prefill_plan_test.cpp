#include "backends/cuda/mla_prefill_plan.h"

#include <gtest/gtest.h>

namespace gale::cuda {
namespace {

constexpr int kHeads = 20;   // of GLM-4.7-Flash

TEST(MlaPrefillPlan, whole_prompts_are_expanded) {
  for (const int length : {1024, 8192, 131'072}) EXPECT_TRUE(is_expanded_faster(length, length, kHeads)) << length;
}

// What is left of a prompt, or few tokens over a long context: mla_chunk_sm90.cu.
TEST(MlaPrefillPlan, chunks_are_absorbed_while_they_are_small_for_their_context) {
  for (const int rest : {1, 8, 64}) EXPECT_FALSE(is_expanded_faster(rest, 1024, kHeads)) << rest;
  for (const int queries : {1, 32, 256}) EXPECT_FALSE(is_expanded_faster(queries, 131'072, kHeads)) << queries;
  EXPECT_TRUE(is_expanded_faster(2048, 131'072, kHeads));
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
