// Random weights of the published widths: how many experts 64 users touch in a step, which decides what a step has to
// read. Balanced routers touch E (1 - (1 - K / E)^64) of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <set>

#include "backends/cuda/cuda_backend.h"
#include "base/temp_folder_testing.h"
#include "engine/engine.h"
#include "routing.h"

namespace gale {
namespace {

constexpr int kNumUsers = 64;

struct Shape4Layers {
  const char* name;
  const char* config;
  int num_experts;
  int num_chosen;
  int vocab;
};

constexpr Shape4Layers kFlash = {"flash",
                                 R"({"architectures":["Glm4MoeLiteForCausalLM"],"model_type":"glm4_moe_lite",
"hidden_act":"silu","rms_norm_eps":1e-5,
"dtype":"bfloat16",
"tie_word_embeddings":false,
"n_shared_experts":1,"n_group":1,"topk_group":1,"norm_topk_prob":true,
"first_k_dense_replace":1,
"hidden_size":2048,"num_hidden_layers":4,"intermediate_size":10240,"moe_intermediate_size":1536,"n_routed_experts":64,
"num_experts_per_tok":4,"topk_method":"noaux_tc",
"routed_scaling_factor":1.8,
"num_attention_heads":20,"num_key_value_heads":20,
"q_lora_rank":768,"kv_lora_rank":512,"qk_nope_head_dim":192,"qk_rope_head_dim":64,
"v_head_dim":256,
"attention_bias":false,
"partial_rotary_factor":1.0,"rope_theta":1000000.0,
"max_position_embeddings":202752,
"vocab_size":154880,"num_nextn_predict_layers":0})",
                                 64, 4, 154880};
constexpr Shape4Layers kAir = {"46v",
                               R"({"architectures":["Glm4MoeForCausalLM"],"model_type":"glm4_moe",
"hidden_act":"silu","rms_norm_eps":1e-5,
"dtype":"bfloat16",
"tie_word_embeddings":false,
"n_shared_experts":1,"n_group":1,"topk_group":1,"norm_topk_prob":true,
"first_k_dense_replace":1,
"hidden_size":4096,"num_hidden_layers":4,"intermediate_size":10944,"moe_intermediate_size":1408,"n_routed_experts":128,
"num_experts_per_tok":8,
"routed_scaling_factor":1.0,
"num_attention_heads":96,"num_key_value_heads":8,"head_dim":128,
"attention_bias":true,"use_qk_norm":false,
"partial_rotary_factor":0.5,"rope_theta":1000000.0,
"max_position_embeddings":131072,
"vocab_size":151552,"num_nextn_predict_layers":0})",
                               128, 8, 151552};

class CudaDummy : public testing::TestWithParam<Shape4Layers> {};

TEST_P(CudaDummy, sixty_four_users_touch_as_many_experts_as_balanced_routers_would) {
  const Shape4Layers& shape = GetParam();
  const TempFolder folder;
  folder.write("config.json", shape.config);
  auto device = make_cuda_device(0);
  ASSERT_TRUE(device) << device.error().message;
  EngineConfig config{.model_dir = folder.path().string(),
                      .load_format = LoadFormat::kDummy,
                      .kv_cache_memory_bytes = 512 << 20,  // and blocks below for twice as many: some stay reserved
                      .enforce_eager = true};
  config.scheduler.max_model_len = 64;
  config.scheduler.max_num_seqs = kNumUsers;
  config.scheduler.num_blocks = 4 * kNumUsers;
  auto executor = make_model_executor(config, **device, watched_cuda_table((*device)->caps()));
  ASSERT_TRUE(executor) << executor.error().message;
  std::mt19937 random(5);
  std::vector<Submit> submits;
  for (int i = 0; i < kNumUsers; ++i) {
    Submit submit{.id = {static_cast<uint64_t>(i) + 1}};
    for (int t = 0; t < 12; ++t)
      submit.prompt.push_back(static_cast<TokenId>(random() % static_cast<unsigned>(shape.vocab)));
    submit.sampling.seed = static_cast<uint64_t>(i);
    submit.stop.max_tokens = 12;
    submits.push_back(std::move(submit));
  }
  routing().forget();
  const auto outputs = generate_offline(**executor, submits);
  ASSERT_TRUE(outputs) << outputs.error().message;
  for (const SequenceOutput& output : *outputs) ASSERT_FALSE(output.error) << output.error->message;
  double sum = 0;
  int count = 0;
  std::string seen = "rows:";
  for (const RouteCall& call : routing().cuda) {
    seen += " " + std::to_string(call.num_tokens);
    if (call.num_tokens != kNumUsers) continue;                     // a step in which everybody decodes
    const std::set<int> touched(call.ids.begin(), call.ids.end());  // the shared expert is one of them
    sum += static_cast<double>(touched.size()) - 1, ++count;
  }
  ASSERT_GT(count, 20) << "steps routed " << seen;
  const double balanced =
      shape.num_experts * (1 - std::pow(1 - static_cast<double>(shape.num_chosen) / shape.num_experts, kNumUsers));
  std::printf("%s with random weights: %d users touch %.1f of %d experts a layer and step (balanced: %.1f)\n",
              shape.name, kNumUsers, sum / count, shape.num_experts, balanced);
  EXPECT_GT(sum / count, 0.9 * balanced);
}

INSTANTIATE_TEST_SUITE_P(Widths, CudaDummy, testing::Values(kFlash, kAir),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gale
