#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "checkpoint_editor.h"
#include "model_driver.h"

// The same weights as other tools write them give the same bits; a changed config value changes the result.

namespace gale::golden {
namespace {

// Replaces the experts of one layer by stacked tensors.
void stack_experts(CheckpointEditor& checkpoint, const std::string& mlp, int num_experts) {
  std::vector<StoredBytes> gate_up, down;
  for (int e = 0; e < num_experts; ++e) {
    const std::string expert = mlp + "experts." + std::to_string(e) + ".";
    gate_up.push_back(checkpoint.take(expert + "gate_proj.weight"));
    gate_up.push_back(checkpoint.take(expert + "up_proj.weight"));
    down.push_back(checkpoint.take(expert + "down_proj.weight"));
  }
  const std::vector<int64_t> up_shape = {num_experts, 2 * gate_up[0].shape[0], gate_up[0].shape[1]};
  const std::vector<int64_t> down_shape = {num_experts, down[0].shape[0], down[0].shape[1]};
  StoredBytes all_gate_up = joined(gate_up), all_down = joined(down);
  all_gate_up.shape = up_shape;
  all_down.shape = down_shape;
  checkpoint.tensors[mlp + "experts.gate_up_proj"] = all_gate_up;
  checkpoint.tensors[mlp + "experts.down_proj"] = all_down;
}

TEST(CheckpointVariants, stacked_experts_are_the_same_model) {
  CheckpointEditor checkpoint("glm4v_moe_f32");
  for (const char* layer : {"1", "2"})
    stack_experts(checkpoint, std::string("model.language_model.layers.") + layer + ".mlp.", 6);
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4v_moe_f32")));
}

TEST(CheckpointVariants, split_gate_and_up_are_the_same_model) {
  CheckpointEditor checkpoint("glm4_f32");
  for (const char* layer : {"0", "1", "2"}) {
    const std::string mlp = std::string("model.layers.") + layer + ".mlp.";
    const StoredBytes both = checkpoint.take(mlp + "gate_up_proj.weight");
    checkpoint.tensors[mlp + "gate_proj.weight"] = rows_of(both, 0, both.shape[0] / 2);
    checkpoint.tensors[mlp + "up_proj.weight"] = rows_of(both, both.shape[0] / 2, both.shape[0]);
  }
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4_f32")));
}

TEST(CheckpointVariants, older_prefix_order_is_the_same_model) {
  CheckpointEditor checkpoint("glm4v_f32");
  checkpoint.rename_prefix("model.visual.", "visual.");
  checkpoint.rename_prefix("model.language_model.", "language_model.model.");
  checkpoint.rename("lm_head.weight", "language_model.lm_head.weight");
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4v_f32")));
}

TEST(CheckpointVariants, both_class_names_of_the_dense_vision_model_are_known) {
  CheckpointEditor checkpoint("glm4v_bf16");
  checkpoint.config["architectures"] = {"Glm46VForConditionalGeneration"};
  checkpoint.config["model_type"] = "glm46v";
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4v_bf16")));
}

TEST(CheckpointVariants, shards_are_joined_and_the_total_size_of_the_index_is_ignored) {
  CheckpointEditor checkpoint("glm4_moe_lite_bf16");
  EXPECT_EQ(logits_of(checkpoint.save_sharded(3, {{"total_size", 12345}})),
            logits_of(data_folder("glm4_moe_lite_bf16")));
}

TEST(CheckpointVariants, mtp_layer_may_come_without_its_tables_or_not_at_all) {
  const Rows expected = logits_of(data_folder("glm4_moe_f32"));
  CheckpointEditor without_tables("glm4_moe_f32");
  without_tables.take("model.layers.3.embed_tokens.weight");
  without_tables.take("model.layers.3.shared_head.head.weight");
  EXPECT_EQ(logits_of(without_tables.save()), expected);
  CheckpointEditor without_layer("glm4_moe_f32");
  std::erase_if(without_layer.tensors, [](const auto& entry) { return entry.first.starts_with("model.layers.3."); });
  EXPECT_EQ(logits_of(without_layer.save()), expected);
}

TEST(CheckpointVariants, head_dim_of_an_mla_config_is_not_read) {
  CheckpointEditor checkpoint("glm4_moe_lite_f32");
  checkpoint.config["head_dim"] = 64;
  checkpoint.config["bos_token_id"] = 0;
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4_moe_lite_f32")));
}

TEST(CheckpointVariants, dense_layers_may_be_listed_or_counted) {
  CheckpointEditor checkpoint("glm4_moe_lite_f32");
  checkpoint.config.erase("mlp_layer_types");
  checkpoint.config["first_k_dense_replace"] = 1;
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4_moe_lite_f32")));
}

TEST(CheckpointVariants, rope_parameters_may_stand_in_either_place) {
  CheckpointEditor checkpoint("glm4v_f32");
  Json& text = checkpoint.config["text_config"];
  const Json rope = text["rope_parameters"];
  text.erase("rope_parameters");
  text["rope_theta"] = rope["rope_theta"];
  text["partial_rotary_factor"] = rope["partial_rotary_factor"];
  text["rope_scaling"] = {{"type", "default"}, {"mrope_section", rope["mrope_section"]}};
  EXPECT_EQ(logits_of(checkpoint.save()), logits_of(data_folder("glm4v_f32")));
}

TEST(CheckpointVariants, mtp_and_vision_tensors_are_claimed_for_what_they_are) {
  const auto count = [](const std::string& case_name, const std::string& claimed_by) {
    const ModelPlan plan = plan_model(data_folder(case_name)).value();
    return std::count_if(plan.tensors.begin(), plan.tensors.end(),
                         [&](const auto& t) { return t.claimed_by == claimed_by; });
  };
  EXPECT_EQ(count("glm4v_f32", "not used: vision tower"), 13 + 2 * 7);
  EXPECT_EQ(count("glm4_moe_f32", "kept for later: MTP layer"),
            6 + 2 + 9 + 2 + 6 * 3 + 3);  // own, norms, attention, router, experts, shared
  EXPECT_EQ(count("glm4_moe_f32", "in use: embedding"), 1);
}

// A trap of the family that a config value or a tensor steers: a build that ignored it would not notice the change.
struct Change { const char* name; const char* case_name; std::function<void(CheckpointEditor&)> apply; };

class ConfigChange : public testing::TestWithParam<Change> {};

TEST_P(ConfigChange, changes_the_logits) {
  CheckpointEditor checkpoint(GetParam().case_name);
  GetParam().apply(checkpoint);
  const Rows changed = logits_of(checkpoint.save()), original = logits_of(data_folder(GetParam().case_name));
  float worst = 0;
  for (size_t row = 0; row < original.size(); ++row) {
    for (size_t i = 0; i < original[row].size(); ++i)
      worst = std::max(worst, std::abs(changed.at(row).at(i) - original[row][i]));
  }
  EXPECT_GT(worst, 1e-3f);
}

void zero(CheckpointEditor& checkpoint, const std::string& name) {
  for (std::byte& byte : checkpoint.tensors.at(name).bytes) byte = std::byte{0};
}

INSTANTIATE_TEST_SUITE_P(
    Traps, ConfigChange,
    testing::Values(
        Change{"routed_scale", "glm4_moe_lite_f32", [](auto& c) { c.config["routed_scaling_factor"] = 1.0; }},
        Change{"renormalised_weights", "glm4_moe_lite_f32", [](auto& c) { c.config["norm_topk_prob"] = false; }},
        Change{"correction_bias", "glm4_moe_lite_f32",
               [](auto& c) { zero(c, "model.layers.1.mlp.gate.e_score_correction_bias"); }},
        Change{"expert_groups", "glm4_moe_lite_bf16", [](auto& c) { c.config["n_group"] = 1; }},
        Change{"norm_epsilon", "glm4_moe_lite_f32", [](auto& c) { c.config["rms_norm_eps"] = 1e-2; }},
        Change{"theta", "glm4_f32", [](auto& c) { c.config["rope_parameters"]["rope_theta"] = 10000.0; }},
        Change{"partial_rotation", "glm4_moe_f32",
               [](auto& c) { c.config["rope_parameters"]["partial_rotary_factor"] = 1.0; }},
        Change{"shared_expert", "glm4_moe_f32",
               [](auto& c) { zero(c, "model.layers.1.mlp.shared_experts.down_proj.weight"); }}),
    [](const testing::TestParamInfo<Change>& info) { return std::string(info.param.name); });

TEST(NanoFlash, loads_and_computes) {
  const std::string folder = std::string(GALE_SOURCE_DIR) + "/models/nano-flash";
  const Rows rows = logits_of(folder);
  ASSERT_EQ(rows.size(), 20u);
  for (const std::vector<float>& row : rows) {
    for (const float value : row) ASSERT_TRUE(std::isfinite(value));
  }
}

}  // namespace
}  // namespace gale::golden
