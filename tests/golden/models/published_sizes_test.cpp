#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/temp_folder_testing.h"
#include "checkpoint_editor.h"
#include "models/model.h"

// The published checkpoints in full size, as files of a header and nothing but a hole behind it: names and shapes as
// their tables have them, written down here apart from the model code. Planning reads headers only.

namespace gale::golden {
namespace {

struct Entry { std::string name; std::vector<int64_t> shape; std::string dtype = "BF16"; };

class Listing {
 public:
  void add(const std::string& name, std::vector<int64_t> shape, const std::string& dtype = "BF16") {
    entries_.push_back({name, std::move(shape), dtype});
  }
  void add_mlp(const std::string& name, int64_t inner, int64_t hidden) {
    add(name + "gate_proj.weight", {inner, hidden});
    add(name + "up_proj.weight", {inner, hidden});
    add(name + "down_proj.weight", {hidden, inner});
  }
  void add_moe(const std::string& name, int64_t experts, int64_t inner, int64_t hidden) {
    add(name + "gate.weight", {experts, hidden});
    add(name + "gate.e_score_correction_bias", {experts}, "F32");
    for (int64_t e = 0; e < experts; ++e) add_mlp(name + "experts." + std::to_string(e) + ".", inner, hidden);
    add_mlp(name + "shared_experts.", inner, hidden);
  }
  void add_gqa(const std::string& name, int64_t q_rows, int64_t kv_rows, int64_t hidden) {
    for (const auto& [part, rows] : {std::pair{"q_proj", q_rows}, {"k_proj", kv_rows}, {"v_proj", kv_rows}}) {
      add(name + part + ".weight", {rows, hidden});
      add(name + part + ".bias", {rows});
    }
    add(name + "o_proj.weight", {hidden, q_rows});
  }
  void add_mla(const std::string& name) {
    add(name + "q_a_proj.weight", {768, 2048});
    add(name + "q_a_layernorm.weight", {768});
    add(name + "q_b_proj.weight", {5120, 768});
    add(name + "kv_a_proj_with_mqa.weight", {576, 2048});
    add(name + "kv_a_layernorm.weight", {512});
    add(name + "kv_b_proj.weight", {8960, 512});
    add(name + "o_proj.weight", {2048, 5120});
  }
  void add_ends(const std::string& prefix, int64_t vocab, int64_t hidden) {
    add(prefix + "embed_tokens.weight", {vocab, hidden});
    add(prefix + "norm.weight", {hidden});
    add("lm_head.weight", {vocab, hidden});
  }
  void add_norms(const std::string& layer, const std::vector<std::string>& names, int64_t hidden) {
    for (const std::string& name : names) add(layer + name + ".weight", {hidden});
  }
  void add_mtp(const std::string& layer, int64_t vocab, int64_t hidden) {
    add_norms(layer, {"enorm", "hnorm", "shared_head.norm"}, hidden);
    add(layer + "eh_proj.weight", {hidden, 2 * hidden});
    add(layer + "embed_tokens.weight", {vocab, hidden});
    add(layer + "shared_head.head.weight", {vocab, hidden});
  }
  void add_vision(int64_t merger_inner);

  // A file of the size that the tensors need, with a header and no data.
  void save(const std::filesystem::path& path) const {
    Json header = Json::object();
    auto& fields = header.get_ref<Json::object_t&>();
    int64_t end = 0;
    for (const Entry& entry : entries_) {
      int64_t bytes = entry.dtype == "F32" ? 4 : 2;
      for (const int64_t extent : entry.shape) bytes *= extent;
      // Straight into the vector below the map: its look-up of earlier keys would be quadratic.
      static_cast<Json::object_t::Container&>(fields).emplace_back(
          entry.name, Json{{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {end, end + bytes}}});
      end += bytes;
    }
    std::string text = dump_json(header);
    text.resize((text.size() + 7) / 8 * 8, ' ');
    write_file(path, safetensors_text(text, ""));
    std::filesystem::resize_file(path, 8 + text.size() + static_cast<uintmax_t>(end));
  }

 private:
  std::vector<Entry> entries_;
};

void Listing::add_vision(int64_t merger_inner) {
  const std::string v = "model.visual.";
  add(v + "patch_embed.proj.weight", {1536, 3, 2, 14, 14});
  add(v + "patch_embed.proj.bias", {1536});
  add(v + "embeddings.position_embedding.weight", {576, 1536});
  add_norms(v, {"post_conv_layernorm", "post_layernorm"}, 1536);
  for (int b = 0; b < 24; ++b) {
    const std::string block = v + "blocks." + std::to_string(b) + ".";
    add_norms(block, {"norm1", "norm2"}, 1536);
    add(block + "attn.qkv.weight", {4608, 1536});
    add(block + "attn.proj.weight", {1536, 1536});
    add_mlp(block + "mlp.", 4096, 1536);
  }
  add(v + "downsample.weight", {4096, 1536, 2, 2});
  add(v + "downsample.bias", {4096});
  add(v + "merger.proj.weight", {4096, 4096});
  add(v + "merger.post_projection_norm.weight", {4096});
  add(v + "merger.post_projection_norm.bias", {4096});
  add_mlp(v + "merger.", merger_inner, 4096);
}

const std::vector<std::string> kPreNorms = {"input_layernorm", "post_attention_layernorm"};
const std::vector<std::string> kSandwichNorms = {"input_layernorm", "post_self_attn_layernorm",
                                                 "post_attention_layernorm", "post_mlp_layernorm"};

Listing flash() {
  Listing out;
  out.add_ends("model.", 154880, 2048);
  for (int i = 0; i <= 47; ++i) {   // 47: the MTP layer's decoder part
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    out.add_norms(layer, kPreNorms, 2048);
    out.add_mla(layer + "self_attn.");
    if (i == 0) out.add_mlp(layer + "mlp.", 10240, 2048);
    else out.add_moe(layer + "mlp.", 64, 1536, 2048);
  }
  out.add_mtp("model.layers.47.", 154880, 2048);
  return out;
}

Listing dense_vision() {
  Listing out;
  out.add_ends("model.language_model.", 151552, 4096);
  for (int i = 0; i < 40; ++i) {
    const std::string layer = "model.language_model.layers." + std::to_string(i) + ".";
    out.add_norms(layer, kSandwichNorms, 4096);
    out.add_gqa(layer + "self_attn.", 4096, 256, 4096);
    out.add(layer + "mlp.gate_up_proj.weight", {27392, 4096});
    out.add(layer + "mlp.down_proj.weight", {4096, 13696});
  }
  out.add_vision(13696);
  return out;
}

Listing large_moe(const std::string& prefix, int num_layers) {
  Listing out;
  out.add_ends(prefix, 151552, 4096);
  for (int i = 0; i < num_layers; ++i) {
    const std::string layer = prefix + "layers." + std::to_string(i) + ".";
    out.add_norms(layer, kPreNorms, 4096);
    out.add_gqa(layer + "self_attn.", 12288, 1024, 4096);
    if (i == 0) out.add_mlp(layer + "mlp.", 10944, 4096);
    else out.add_moe(layer + "mlp.", 128, 1408, 4096);
  }
  return out;
}

Listing large_moe_vision() {
  Listing out = large_moe("model.language_model.", 46);
  out.add_vision(10944);
  return out;
}

Listing air() {
  Listing out = large_moe("model.", 47);
  out.add_mtp("model.layers.46.", 151552, 4096);
  return out;
}

constexpr const char* kFlashConfig =
    R"({"architectures":["Glm4MoeLiteForCausalLM"],"model_type":"glm4_moe_lite","hidden_size":2048,
 "num_hidden_layers":47,"intermediate_size":10240,"first_k_dense_replace":1,"moe_intermediate_size":1536,
 "n_routed_experts":64, "n_shared_experts":1,"num_experts_per_tok":4,"n_group":1,"topk_group":1,
 "topk_method":"noaux_tc","norm_topk_prob":true,
 "routed_scaling_factor":1.8,"num_attention_heads":20,"num_key_value_heads":20,"q_lora_rank":768,"kv_lora_rank":512,
 "qk_nope_head_dim":192,"qk_rope_head_dim":64,"v_head_dim":256,"attention_bias":false,"partial_rotary_factor":1.0,
 "rope_theta":1000000,"rope_scaling":null,"max_position_embeddings":202752,"rms_norm_eps":1e-5,"hidden_act":"silu",
 "tie_word_embeddings":false,"num_nextn_predict_layers":1,"vocab_size":154880})";
constexpr const char* kVision =
    R"({"depth":24,"hidden_size":1536,"num_heads":12,"out_hidden_size":4096,"image_size":336,
 "patch_size":14,"temporal_patch_size":2,"spatial_merge_size":2,"in_channels":3,"attention_bias":false,
 "intermediate_size":)";
constexpr const char* kDenseText = R"({"hidden_size":4096,"num_hidden_layers":40,"num_attention_heads":32,
 "num_key_value_heads":2,"intermediate_size":13696,"vocab_size":151552,"attention_bias":true,"hidden_act":"silu",
 "rms_norm_eps":1e-5,"max_position_embeddings":131072,
 "rope_parameters":{"rope_theta":500000,"partial_rotary_factor":0.5,
 "mrope_section":[8,12,12],"rope_type":"default"}})";
constexpr const char* kMoeSizes =
    R"("hidden_size":4096,"num_hidden_layers":46,"num_attention_heads":96,"num_key_value_heads":8,
 "head_dim":128,"attention_bias":true,"use_qk_norm":false,"intermediate_size":10944,"moe_intermediate_size":1408,
 "n_routed_experts":128,"num_experts_per_tok":8,"n_shared_experts":1,"n_group":1,"topk_group":1,"norm_topk_prob":true,
 "routed_scaling_factor":1.0,"first_k_dense_replace":1,"max_position_embeddings":131072,"rms_norm_eps":1e-5,
 "hidden_act":"silu","vocab_size":151552)";

std::string vision_language_config(const std::string& architecture, const std::string& text, int merger_inner) {
  return R"({"architectures":[")" + architecture + R"("],"tie_word_embeddings":false,"text_config":)" + text +
         R"(,"vision_config":)" + kVision + std::to_string(merger_inner) + "}}";
}

struct Published {
  const char* name;
  Listing (*listing)();
  std::string config;
  size_t num_in_use, num_tensors;
  int64_t text_parameters, all_parameters;
  int64_t kv_elements_per_token;
};

class PublishedCheckpoint : public testing::TestWithParam<Published> {};

TEST_P(PublishedCheckpoint, every_tensor_is_claimed_and_the_sums_are_right) {
  const Published& published = GetParam();
  const TempFolder folder;
  folder.write("config.json", published.config);
  published.listing().save(folder.path() / "model.safetensors");
  const Result<ModelPlan> plan = plan_model(folder.path().string());
  ASSERT_TRUE(plan) << plan.error().message;
  const auto in_use = std::count_if(plan->tensors.begin(), plan->tensors.end(), [](const TensorSummary& tensor) {
    return tensor.claimed_by.starts_with("in use: ");
  });
  int64_t all_parameters = 0;
  for (const TensorSummary& tensor : plan->tensors) all_parameters += tensor.shape.num_elements();
  EXPECT_EQ(static_cast<size_t>(in_use), published.num_in_use);
  EXPECT_EQ(plan->tensors.size(), published.num_tensors);
  EXPECT_EQ(plan->info.num_parameters, published.text_parameters);
  EXPECT_EQ(all_parameters, published.all_parameters);
  EXPECT_EQ(plan->kv_layout.elements_per_token(), published.kv_elements_per_token);
}

INSTANTIATE_TEST_SUITE_P(
    Models, PublishedCheckpoint,
    testing::Values(
        Published{"glm_4_7_flash", flash, kFlashConfig, 9491, 9703, 29'943'393'920, 31'221'488'576, 27'072},
        Published{"glm_4_6v_flash", dense_vision,
                  vision_language_config("Glm4vForConditionalGeneration", kDenseText, 13696), 523, 704, 9'400'279'040,
                  10'292'777'472, 20'480},
        Published{"glm_4_6v", large_moe_vision,
                  vision_language_config("Glm4vMoeForConditionalGeneration",
                                         std::string("{") + kMoeSizes + R"(,"rope_parameters":{"rope_theta":500000,
                         "partial_rotary_factor":0.5,"mrope_section":[8,12,12],"rope_type":"default"}})",
                                         10944),
                  17925, 18106, 106'852'251'264, 107'710'933'120, 94'208},
        Published{"glm_4_5_air", air,
                  std::string(
                      R"({"architectures":["Glm4MoeForCausalLM"],"rope_theta":1000000,"partial_rotary_factor":0.5,)") +
                      R"("num_nextn_predict_layers":1,)" + kMoeSizes + "}",
                  17925, 18329, 106'852'251'264, 110'468'824'832, 94'208}),
    [](const testing::TestParamInfo<Published>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gale::golden
