// Random weights must route as a trained model does: how many experts a step touches decides what it reads, so a
// figure measured with routers that prefer a few would be too good.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "base/temp_folder_testing.h"
#include "model_driver.h"

namespace gale::golden {
namespace {

constexpr int kNumUsers = 64, kPrompt = 11, kVocab = 4096, kNumRoutedLayers = 5;

struct Case {
  const char* name;
  const char* config;
  int num_experts, num_chosen;
};

// The published models but narrower; as deep as is quick.
constexpr Case kFlash = {"flash", R"({"architectures":["Glm4MoeLiteForCausalLM"],"model_type":"glm4_moe_lite",
"hidden_act":"silu","rms_norm_eps":1e-5,"dtype":"bfloat16","tie_word_embeddings":false,"attention_bias":false,
"n_shared_experts":1,"n_group":1,"topk_group":1,"norm_topk_prob":true,"first_k_dense_replace":1,
"topk_method":"noaux_tc",
"hidden_size":1024,"num_hidden_layers":6,"intermediate_size":512,"moe_intermediate_size":64,"n_routed_experts":64,
"num_experts_per_tok":4,"routed_scaling_factor":1.8,"num_attention_heads":2,"num_key_value_heads":2,"q_lora_rank":128,
"kv_lora_rank":64,"qk_nope_head_dim":32,"qk_rope_head_dim":32,"v_head_dim":32,"partial_rotary_factor":1.0,
"rope_theta":1000000.0,"max_position_embeddings":4096,"vocab_size":4096,"num_nextn_predict_layers":0})", 64, 4};
constexpr Case kAir = {"46v", R"({"architectures":["Glm4MoeForCausalLM"],"model_type":"glm4_moe",
"hidden_act":"silu","rms_norm_eps":1e-5,"dtype":"bfloat16","tie_word_embeddings":false,"attention_bias":true,
"n_shared_experts":1,"n_group":1,"topk_group":1,"norm_topk_prob":true,"first_k_dense_replace":1,
"hidden_size":1024,"num_hidden_layers":6,"intermediate_size":512,"moe_intermediate_size":64,"n_routed_experts":128,
"num_experts_per_tok":8,"routed_scaling_factor":1.0,"num_attention_heads":24,"num_key_value_heads":2,"head_dim":32,
"use_qk_norm":false,"partial_rotary_factor":0.5,"rope_theta":1000000.0,"max_position_embeddings":4096,
"vocab_size":4096,"num_nextn_predict_layers":0})", 128, 8};

// What routers chose in steps of kNumUsers tokens: how often each expert, a call of a router a row.
std::vector<std::vector<int>> choices;

void watch(Stream& stream, const MoeRouteArgs& args) {
  cpu_op_table().moe_route[0].run(stream, args);
  if (args.in.shape[0] != kNumUsers) return;
  const auto num_experts = static_cast<size_t>(args.gate_weight.shape[0]);
  std::vector<int>& counts = choices.emplace_back(num_experts, 0);
  const auto* ids = args.expert_ids.as<int32_t>();
  for (int64_t i = 0; i < args.expert_ids.num_elements(); ++i) {
    const auto id = static_cast<size_t>(ids[i]);
    if (id < num_experts) ++counts[id];   // the shared expert has the id behind them
  }
}

constexpr std::array<OpImpl<MoeRouteArgs>, 1> kWatched = {
    {{"watched", [](const DeviceCaps&, const MoeRouteArgs&) { return true; }, watch}}};

class DummyRouting : public testing::TestWithParam<Case> {
 protected:
  DummyRouting() : table_(cpu_op_table()) {
    choices.clear();
    table_.moe_route = kWatched;
    folder_.write("config.json", GetParam().config);
  }

  // Prompts of random tokens, then a step in which everybody decodes one.
  void decode_beside_others(RandomRouting routing) {
    auto driver = ModelDriver::load_dummy(folder_.path().string(), table_, routing);
    ASSERT_TRUE(driver) << driver.error().message;
    std::mt19937 random(5);
    const auto draw = [&random] { return static_cast<int32_t>(random() % kVocab); };
    std::vector<Sequence> sequences(kNumUsers);
    std::vector<Piece> prompts, next;
    for (Sequence& sequence : sequences) {
      std::vector<int32_t> prompt(kPrompt);
      for (int32_t& token : prompt) token = draw();
      prompts.push_back({&sequence, prompt});
      next.push_back({&sequence, {draw()}});
    }
    (*driver)->step(prompts);
    (*driver)->step(next);
  }

 private:
  OpTable table_;
  TempFolder folder_;
};

TEST_P(DummyRouting, of_random_weights_is_balanced) {
  const int num_experts = GetParam().num_experts, num_chosen = GetParam().num_chosen;
  decode_beside_others(RandomRouting::kBalanced);
  ASSERT_EQ(choices.size(), kNumRoutedLayers);
  int touched = 0;
  std::vector<int> sums(static_cast<size_t>(num_experts), 0);
  for (const std::vector<int>& counts : choices) {
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), kNumUsers * num_chosen);
    EXPECT_LT(*std::max_element(counts.begin(), counts.end()), 20);   // 4 are the mean
    for (size_t e = 0; e < counts.size(); ++e) touched += counts[e] > 0, sums[e] += counts[e];
  }
  // Independent draws leave E (1 - K / E)^T experts alone.
  const double balanced = num_experts * (1 - std::pow(1 - static_cast<double>(num_chosen) / num_experts, kNumUsers));
  EXPECT_GT(touched, 0.97 * balanced * kNumRoutedLayers);
  // No expert wins everywhere, as low ids do where scores are equal.
  const int mean = std::accumulate(sums.begin(), sums.end(), 0) / num_experts;
  EXPECT_LT(*std::max_element(sums.begin(), sums.end()), 3 * mean);
  EXPECT_GT(*std::min_element(sums.begin(), sums.end()), mean / 4);
}

TEST_P(DummyRouting, prefers_a_few_experts_where_that_is_asked_for) {
  const int num_chosen = GetParam().num_chosen;
  decode_beside_others(RandomRouting::kZipf);
  ASSERT_EQ(choices.size(), kNumRoutedLayers);
  double harmonic = 0, of_rear_half = 0;   // sums of Zipf's law
  for (int e = 1; e <= GetParam().num_experts; ++e) harmonic += 1.0 / e;
  for (int e = GetParam().num_experts / 2 + 1; e <= GetParam().num_experts; ++e) of_rear_half += 1.0 / e;
  for (const std::vector<int>& counts : choices) {
    EXPECT_NEAR(counts[0], std::min(0.9, num_chosen / harmonic) * kNumUsers, 14);
    const int rear_half = std::accumulate(counts.begin() + GetParam().num_experts / 2, counts.end(), 0);
    EXPECT_NEAR(rear_half, of_rear_half / harmonic * num_chosen * kNumUsers, 10 * std::sqrt(num_chosen));
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, DummyRouting, testing::Values(kFlash, kAir),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gale::golden
