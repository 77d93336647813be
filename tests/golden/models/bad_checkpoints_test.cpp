#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/mapped_file.h"
#include "checkpoint_editor.h"
#include "models/model.h"

// A wrong checkpoint is refused with a message that says what, where and what was expected.

namespace gale::golden {
namespace {

using testing::AllOf;
using testing::HasSubstr;

void expect_refused(const std::string& folder, ErrorCode code, const testing::Matcher<std::string>& message) {
  const Result<ModelPlan> plan = plan_model(folder);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, code);
  EXPECT_THAT(plan.error().message, message);
}

// Bytes of the saved file; `change` edits them.
void change_file(const std::string& folder, const std::function<void(std::string&)>& change) {
  const std::string path = folder + "/model.safetensors";
  std::string text = read_file(path, 1 << 24).value();
  change(text);
  write_file(path, text);
}

TEST(BadCheckpoint, truncated_file_is_named) {
  CheckpointEditor checkpoint("glm4_f32");
  const std::string folder = checkpoint.save();
  change_file(folder, [](std::string& text) { text.resize(text.size() - 100); });
  expect_refused(folder, ErrorCode::kCorrupt, AllOf(HasSubstr("model.safetensors"), HasSubstr("truncated?")));
}

TEST(BadCheckpoint, lying_header_is_named) {
  CheckpointEditor checkpoint("glm4_f32");
  const std::string folder = checkpoint.save();
  change_file(folder, [](std::string& text) {
    const size_t at = text.find("[97,40]");
    ASSERT_NE(at, std::string::npos);
    text.replace(at, 7, "[97,41]");
  });
  expect_refused(folder, ErrorCode::kCorrupt, AllOf(HasSubstr("f32 [97, 41]"), HasSubstr("does not fill")));
}

TEST(BadCheckpoint, every_problem_with_tensors_is_listed) {
  CheckpointEditor checkpoint("glm4_f32");
  checkpoint.take("model.layers.1.mlp.down_proj.weight");
  checkpoint.set_f32("model.layers.2.input_layernorm.weight", {4}, {1, 1, 1, 1});
  checkpoint.set_f32("model.layers.9.surprise", {2}, {0, 0});
  expect_refused(
      checkpoint.save(), ErrorCode::kCorrupt,
      AllOf(HasSubstr("3 problems"),
            HasSubstr("model.layers.1.mlp.down_proj.weight: missing, expected f32, f16, bf16 or f8e4m3 [40, 52]"),
            HasSubstr(
                "model.layers.2.input_layernorm.weight: expected f32, f16 or bf16 [40], model.safetensors has f32 [4]"),
            HasSubstr("model.layers.9.surprise: not expected, model.safetensors has f32 [2]")));
}

TEST(BadCheckpoint, long_lists_of_problems_are_cut_and_counted) {
  CheckpointEditor checkpoint("glm4_moe_lite_f32");
  checkpoint.config["n_routed_experts"] = 12;
  expect_refused(checkpoint.save(), ErrorCode::kCorrupt,
                 AllOf(HasSubstr("problems with the weights"), HasSubstr("more")));
}

TEST(BadCheckpoint, correction_bias_must_be_f32) {
  CheckpointEditor checkpoint("glm4_moe_lite_bf16");
  StoredBytes& bias = checkpoint.tensors.at("model.layers.0.mlp.gate.e_score_correction_bias");
  bias.dtype = DType::kBF16;
  bias.bytes.resize(bias.bytes.size() / 2);
  expect_refused(
      checkpoint.save(), ErrorCode::kCorrupt,
      HasSubstr("model.layers.0.mlp.gate.e_score_correction_bias: expected f32 [8], model.safetensors has bf16 [8]"));
}

TEST(BadCheckpoint, mixed_types_in_one_matrix_are_refused) {
  CheckpointEditor checkpoint("glm4_bf16");
  checkpoint.set_f32("model.layers.0.self_attn.k_proj.weight", {24, 40}, std::vector<float>(24 * 40));
  expect_refused(checkpoint.save(), ErrorCode::kCorrupt, HasSubstr("bf16 and f32 cannot be joined"));
}

TEST(BadCheckpoint, unused_mtp_tensor_is_left_over) {
  CheckpointEditor checkpoint("glm4_moe_f32");
  checkpoint.config["num_nextn_predict_layers"] = 0;
  expect_refused(checkpoint.save(), ErrorCode::kCorrupt, HasSubstr("model.layers.3.eh_proj.weight: not expected"));
}

TEST(BadCheckpoint, tensor_missing_from_the_mtp_layer_is_named) {
  CheckpointEditor checkpoint("glm4_moe_f32");
  checkpoint.take("model.layers.3.enorm.weight");
  expect_refused(checkpoint.save(), ErrorCode::kCorrupt, HasSubstr("model.layers.3.enorm.weight: missing"));
}

TEST(BadCheckpoint, vision_tensor_of_another_shape_is_named) {
  CheckpointEditor checkpoint("glm4v_bf16");
  checkpoint.config["vision_config"]["intermediate_size"] = 24;   // the merger's inner size
  expect_refused(checkpoint.save(), ErrorCode::kCorrupt,
                 HasSubstr("model.visual.merger.gate_proj.weight: expected f32, f16 or bf16 [24, 24]"));
}

TEST(BadCheckpoint, missing_folder_and_missing_weights_are_told_apart) {
  expect_refused("/nonexistent/model", ErrorCode::kNotFound, HasSubstr("/nonexistent/model"));
  CheckpointEditor checkpoint("glm4_f32");
  const std::string folder = checkpoint.save();
  std::filesystem::remove(folder + "/model.safetensors");
  expect_refused(folder, ErrorCode::kNotFound, HasSubstr("holds neither"));
}

struct BadConfig {
  const char* name;
  const char* case_name;
  std::function<void(Json&)> apply;
  const char* message;
  ErrorCode code = ErrorCode::kCorrupt;
};

class BadConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, is_refused_naming_the_key) {
  CheckpointEditor checkpoint(GetParam().case_name);
  GetParam().apply(checkpoint.config);
  expect_refused(checkpoint.save(), GetParam().code, AllOf(HasSubstr("config.json"), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Configs, BadConfigTest,
    testing::Values(
        BadConfig{"architecture", "glm4_f32", [](Json& c) { c["architectures"] = {"LlamaForCausalLM"}; },
                  "\"LlamaForCausalLM\" is not known; known are Glm4MoeLiteForCausalLM, ", ErrorCode::kUnimplemented},
        BadConfig{"quantised", "glm4_f32", [](Json& c) { c["quantization_config"] = {{"quant_method", "awq"}}; },
                  "which this build does not load", ErrorCode::kUnimplemented},
        BadConfig{"no_theta", "glm4_f32", [](Json& c) { c["rope_parameters"].erase("rope_theta"); },
                  "rope_theta: expected a positive number, found nothing"},
        BadConfig{"no_theta_in_text", "glm4v_bf16", [](Json& c) { c["text_config"].erase("rope_theta"); },
                  "text_config.rope_theta: expected a positive number, found nothing"},
        BadConfig{"rope_type", "glm4_f32", [](Json& c) { c["rope_parameters"]["rope_type"] = "yarn"; },
                  "rope_parameters.rope_type: expected \"default\", found \"yarn\""},
        BadConfig{"activation", "glm4_f32", [](Json& c) { c["hidden_act"] = "gelu"; },
                  "hidden_act: expected \"silu\", found \"gelu\""},
        BadConfig{"scoring", "glm4_moe_lite_f32", [](Json& c) { c["scoring_func"] = "softmax"; },
                  "scoring_func: expected \"sigmoid\", found \"softmax\""},
        BadConfig{"tied_embeddings", "glm4_f32", [](Json& c) { c["tie_word_embeddings"] = true; },
                  "tie_word_embeddings: expected false, found true"},
        BadConfig{"rope_interleave", "glm4_moe_lite_f32", [](Json& c) { c["rope_interleave"] = false; },
                  "rope_interleave: expected true"},
        BadConfig{"layer_types", "glm4_moe_lite_f32", [](Json& c) { c["mlp_layer_types"] = {"dense", "sparse"}; },
                  "mlp_layer_types: expected 3 entries"},
        BadConfig{"layer_types_disagree", "glm4_moe_lite_f32", [](Json& c) { c["first_k_dense_replace"] = 2; },
                  "agree with first_k_dense_replace"},
        BadConfig{"mrope_sections", "glm4v_f32",
                  [](Json& c) { c["text_config"]["rope_parameters"]["mrope_section"] = {1, 1, 1}; },
                  "mrope_section: expected three integers that sum up to 4"},
        BadConfig{"two_shared_experts", "glm4_moe_f32", [](Json& c) { c["n_shared_experts"] = 2; },
                  "n_shared_experts: expected 0 or 1, found 2"},
        BadConfig{"no_size", "glm4_f32", [](Json& c) { c["hidden_size"] = "forty"; },
                  "hidden_size: expected an integer from 1"},
        BadConfig{"absurd_size", "glm4_f32", [](Json& c) { c["num_hidden_layers"] = 2000000000; },
                  "num_hidden_layers: expected an integer from 1 to 1024"}),
    [](const testing::TestParamInfo<BadConfig>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gale::golden
