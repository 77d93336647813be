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

constexpr int kNumUsers = 64, kNumExperts = 64, kNumChosen = 4, kPrompt = 11;
constexpr int kVocab = 4096;

// GLM-4.7-Flash but narrower; as deep as is quick.
constexpr const char* kConfig = R"({"architectures":["Glm4MoeLiteForCausalLM"],"model_type":"glm4_moe_lite",
"hidden_act":"silu","rms_norm_eps":1e-5,"dtype":"bfloat16","tie_word_embeddings":false,"attention_bias":false,
"n_shared_experts":1,"n_group":1,"topk_group":1,"norm_topk_prob":true,"first_k_dense_replace":1,
"topk_method":"noaux_tc",
"hidden_size":1024,"num_hidden_layers":6,"intermediate_size":512,"moe_intermediate_size":64,"n_routed_experts":64,
"num_experts_per_tok":4,"routed_scaling_factor":1.8,"num_attention_heads":2,"num_key_value_heads":2,"q_lora_rank":128,
"kv_lora_rank":64,"qk_nope_head_dim":32,"qk_rope_head_dim":32,"v_head_dim":32,"partial_rotary_factor":1.0,
"rope_theta":1000000.0,"max_position_embeddings":4096,"vocab_size":4096,"num_nextn_predict_layers":0})";

// What routers chose in steps of kNumUsers tokens: how often each expert, a call of a router a row.
std::vector<std::vector<int>> choices;

void watch(Stream& stream, const MoeRouteArgs& args) {
  cpu_op_table().moe_route[0].run(stream, args);
  if (args.in.shape[0] != kNumUsers) return;
  std::vector<int>& counts = choices.emplace_back(kNumExperts, 0);
  const auto* ids = args.expert_ids.as<int32_t>();
  for (int64_t i = 0; i < args.expert_ids.num_elements(); ++i)
    if (ids[i] < kNumExperts) ++counts[static_cast<size_t>(ids[i])];   // the shared expert has the id behind them
}

constexpr std::array<OpImpl<MoeRouteArgs>, 1> kWatched = {
    {{"watched", [](const DeviceCaps&, const MoeRouteArgs&) { return true; }, watch}}};

class DummyRouting : public testing::Test {
 protected:
  DummyRouting() : table_(cpu_op_table()) {
    choices.clear();
    table_.moe_route = kWatched;
    folder_.write("config.json", kConfig);
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

TEST_F(DummyRouting, of_random_weights_is_balanced) {
  decode_beside_others(RandomRouting::kBalanced);
  ASSERT_EQ(choices.size(), 5U);   // layers with experts
  int touched = 0;
  std::vector<int> sums(kNumExperts, 0);
  for (const std::vector<int>& counts : choices) {
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), kNumUsers * kNumChosen);
    EXPECT_LT(*std::max_element(counts.begin(), counts.end()), 20);   // 4 are the mean
    for (size_t e = 0; e < counts.size(); ++e) touched += counts[e] > 0, sums[e] += counts[e];
  }
  // Independent draws leave E (1 - K / E)^T experts alone.
  const double balanced = kNumExperts * (1 - std::pow(1 - double{kNumChosen} / kNumExperts, kNumUsers));
  EXPECT_GT(touched, 0.97 * balanced * static_cast<double>(choices.size()));
  // No expert wins everywhere, as low ids do where scores are equal.
  const int mean = std::accumulate(sums.begin(), sums.end(), 0) / kNumExperts;
  EXPECT_LT(*std::max_element(sums.begin(), sums.end()), 3 * mean);
  EXPECT_GT(*std::min_element(sums.begin(), sums.end()), mean / 4);
}

TEST_F(DummyRouting, prefers_a_few_experts_where_that_is_asked_for) {
  decode_beside_others(RandomRouting::kZipf);
  ASSERT_EQ(choices.size(), 5U);
  for (const std::vector<int>& counts : choices) {
    EXPECT_NEAR(counts[0], 0.84 * kNumUsers, 14);   // of Zipf's law: 4 / (1 + 1/2 + … + 1/64)
    EXPECT_NEAR(std::accumulate(counts.begin() + 32, counts.end(), 0), 0.146 * kNumChosen * kNumUsers, 20);
  }
}

}  // namespace
}  // namespace gale::golden
