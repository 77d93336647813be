#include "engine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gale {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

MemoryDemand card_of_80_gib() {
  return {.is_gpu = true,
          .total_bytes = 80 * kGiB,
          .free_bytes = 50 * kGiB,
          .weight_bytes = 29 * kGiB,
          .workspace_bytes = 2 * kGiB,
          .kv_bytes_per_token = 54'144,
          .attention_form = "MLA",
          .max_position_embeddings = 202'752};
}
MemoryDemand small_machine() {
  return {.total_bytes = 8 * kGiB, .free_bytes = 4 * kGiB, .workspace_bytes = kGiB / 8, .kv_bytes_per_token = 65'536,
          .attention_form = "GQA", .max_position_embeddings = 131'072};
}

TEST(MemoryPlan, a_gpu_gives_what_its_share_leaves) {
  EngineConfig config;
  const auto plan = plan_memory(card_of_80_gib(), config);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->scheduler.block_size, 64);
  EXPECT_EQ(plan->scheduler.max_mixed_step_ms, 26);
  EXPECT_EQ(plan->scheduler.mixed_step_grain, 256);
  EXPECT_EQ(plan->scheduler.layered_context, 8192);
  EXPECT_EQ(plan->scheduler.max_layered_tokens, std::min(4096, config.scheduler.max_num_batched_tokens));
  MemoryDemand with_experts = card_of_80_gib();
  with_experts.has_experts = true;
  EXPECT_EQ(plan_memory(with_experts, config)->scheduler.max_mixed_step_ms, 37);
  config.scheduler.max_mixed_step_ms = 50;
  EXPECT_EQ(plan_memory(with_experts, config)->scheduler.max_mixed_step_ms, 50) << "what somebody asked for";
  EXPECT_EQ(plan->scheduler.max_model_len, 202'752);
  // 0.85 of 80, what others and the weights took, the workspace
  const int64_t budget = 68 * kGiB - 30 * kGiB - 2 * kGiB;
  EXPECT_LE(plan->kv_bytes, budget);
  EXPECT_GT(plan->kv_bytes, budget - 54'144 * 64);
  EXPECT_EQ(plan->num_users, plan->scheduler.num_blocks / (202'752 / 64));
  EXPECT_THAT(plan->describe(), testing::HasSubstr("users x 202752 tokens"));
}

TEST(MemoryPlan, a_cpu_gives_a_quarter_of_what_is_free_and_caps_the_length) {
  const auto plan = plan_memory(small_machine(), {});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kv_bytes, kGiB);
  EXPECT_EQ(plan->scheduler.block_size, 16);
  EXPECT_EQ(plan->scheduler.max_mixed_step_ms, 0);
  EXPECT_EQ(plan->scheduler.mixed_step_grain, 1);
  EXPECT_EQ(plan->scheduler.max_layered_tokens, 0) << "steps have no limit there";
  EXPECT_EQ(plan->scheduler.max_model_len, kGiB / 65'536);
  EXPECT_EQ(plan->num_users, 1);
}

TEST(MemoryPlan, never_plans_more_blocks_than_all_slots_can_fill) {
  EngineConfig config;
  config.scheduler.max_model_len = 100;
  config.scheduler.max_num_seqs = 4;
  const auto plan = plan_memory(small_machine(), config);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->scheduler.num_blocks, 4 * 7);
  EXPECT_EQ(plan->num_users, 4);
}

TEST(MemoryPlan, a_length_that_does_not_fit_names_what_is_missing_and_the_options) {
  EngineConfig config;
  config.scheduler.max_model_len = 131'072;
  const auto plan = plan_memory(small_machine(), config);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kOutOfMemory);
  EXPECT_THAT(plan.error().message,
              testing::AllOf(testing::HasSubstr("8.00 GiB"), testing::HasSubstr("1.00 GiB are planned"),
                             testing::HasSubstr("--max-model-len")));
}

TEST(MemoryPlan, a_full_card_is_an_error_not_a_negative_cache) {
  MemoryDemand demand = card_of_80_gib();
  demand.free_bytes = 5 * kGiB;
  const auto plan = plan_memory(demand, {});
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, testing::HasSubstr("--gpu-memory-utilization"));
}

TEST(MemoryPlan, names_options_that_suffice_and_none_that_do_not) {
  MemoryDemand demand = card_of_80_gib();
  demand.can_shrink_kv = demand.can_shrink_weights = true;
  EngineConfig config;
  config.gpu_memory_utilization = 0.5;                 // 40 GiB: 1 by others, 29 of weights, 2 of workspace, 8 left
  config.scheduler.max_model_len = 200'000;            // 10.1 GiB
  const auto plan = plan_memory(demand, config);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kOutOfMemory);
  EXPECT_THAT(
      plan.error().message,
      testing::AllOf(testing::HasSubstr("2.09 GiB are missing"), testing::HasSubstr("other processes hold 1.00 GiB"),
                     testing::HasSubstr("--gpu-memory-utilization 0.53"), testing::HasSubstr("--max-model-len 158592"),
                     testing::HasSubstr("--kv-cache-dtype fp8"),
                     testing::HasSubstr("--quantization fp8 (about 13.0 GiB less)")));
  config.scheduler.max_model_len = 0;
  config.gpu_memory_utilization = 0.3;
  demand.can_shrink_kv = demand.can_shrink_weights = false;
  demand.free_bytes = 3 * kGiB;                        // others hold 48: nothing short of 1.0 would do
  const auto hopeless = plan_memory(demand, config);
  ASSERT_FALSE(hopeless);
  EXPECT_THAT(hopeless.error().message, testing::Not(testing::HasSubstr("--gpu-memory-utilization")));
  EXPECT_THAT(hopeless.error().message, testing::Not(testing::HasSubstr("fp8")));
  EXPECT_THAT(hopeless.error().message, testing::HasSubstr("--max-num-seqs"));
}

TEST(MemoryPlan, weights_that_do_not_fit_say_what_is_missing_and_who_has_it) {
  MemoryDemand demand{.is_gpu = true,
                      .total_bytes = 80 * kGiB,
                      .free_bytes = 79 * kGiB,
                      .weight_bytes = 100 * kGiB,
                      .can_shrink_weights = true};
  EngineConfig config;
  const Status large = check_weights_fit(demand, 2 * kGiB, config);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, ErrorCode::kOutOfMemory);
  EXPECT_THAT(large.error().message,
              testing::AllOf(testing::HasSubstr("23.00 GiB are missing"), testing::HasSubstr("--quantization fp8"),
                             testing::HasSubstr("which fit")));
  demand.weight_bytes = 40 * kGiB;
  demand.free_bytes = 10 * kGiB;
  demand.can_shrink_weights = false;
  const Status taken = check_weights_fit(demand, 2 * kGiB, config);
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().message,
              testing::AllOf(testing::HasSubstr("32.00 GiB are missing"),
                             testing::HasSubstr("other processes hold 70.00"), testing::HasSubstr("free memory")));
  demand.free_bytes = 42 * kGiB;
  EXPECT_TRUE(check_weights_fit(demand, 2 * kGiB, config));
}

TEST(MemoryPlan, a_budget_beyond_the_free_memory_is_refused) {
  EngineConfig config;
  config.kv_cache_memory_bytes = 4 * kGiB;
  const auto plan = plan_memory(small_machine(), config);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, testing::HasSubstr("0.12 GiB more than is free"));
}

TEST(MemoryPlan, a_length_beyond_the_model_is_refused) {
  EngineConfig config;
  config.scheduler.max_model_len = 200'000;
  const auto plan = plan_memory(small_machine(), config);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().param, "max-model-len");
}

}  // namespace
}  // namespace gale
