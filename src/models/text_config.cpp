#include "models/text_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace gale {
namespace {

constexpr int kMaxLayers = 1024, kMaxExperts = 4096;   // a typing error must not become a loop of billions

// The section that holds `key` in either style.
HfConfig holder_of(HfConfig& config, std::string_view key) {
  HfConfig parameters = config.section("rope_parameters");
  return parameters.has(key) ? parameters : config;
}

void check_rope_type(HfConfig& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(key)) continue;
    HfConfig section = config.section(key);
    section.expect_text(section.has("type") ? "type" : "rope_type", "default");
  }
}

std::array<int, 3> read_sections(HfConfig& config, bool has_mrope, int num_frequencies) {
  const bool is_new_style = config.section("rope_parameters").has("mrope_section");
  HfConfig holder = config.section(is_new_style ? "rope_parameters" : "rope_scaling");
  if (!has_mrope) {
    if (holder.has("mrope_section")) holder.note_problem("mrope_section", "nothing: this model has one position axis");
    return {num_frequencies, 0, 0};
  }
  const std::vector<int> sections = holder.integers("mrope_section");
  if (sections.size() == 3 && sections[0] + sections[1] + sections[2] == num_frequencies) {
    return {sections[0], sections[1], sections[2]};
  }
  holder.note_problem("mrope_section", fmt::format("three integers that sum up to {}", num_frequencies));
  return {};
}

std::vector<bool> read_sparse_layers(HfConfig& config, int num_layers) {
  std::vector<bool> out(static_cast<size_t>(num_layers), true);
  if (config.has("first_k_dense_replace") || !config.has("mlp_layer_types")) {
    const int num_dense = config.integer("first_k_dense_replace", 0);
    for (int i = 0; i < std::min(num_dense, num_layers); ++i) out[static_cast<size_t>(i)] = false;
  }
  if (!config.has("mlp_layer_types")) return out;
  std::vector<bool> listed;
  for (const std::string& type : config.texts("mlp_layer_types")) {
    if (type != "dense" && type != "sparse") config.note_problem("mlp_layer_types", "\"dense\" or \"sparse\"");
    listed.push_back(type == "sparse");
  }
  const bool disagrees = config.has("first_k_dense_replace") && listed != out;
  if (listed.size() != out.size() || disagrees) {
    config.note_problem("mlp_layer_types", fmt::format("{} entries that agree with first_k_dense_replace", num_layers));
    return out;
  }
  return listed;
}

}  // namespace

RopeParams read_rope(HfConfig& config, const RopeSource& source) {
  check_rope_type(config);
  RopeParams rope{.pairing = source.pairing};
  rope.theta = holder_of(config, "rope_theta").number("rope_theta");
  HfConfig partial_holder = holder_of(config, "partial_rotary_factor");
  const bool has_factor = source.needs_partial_factor || partial_holder.has("partial_rotary_factor");
  const double dims = source.head_dim * (has_factor ? partial_holder.number("partial_rotary_factor") : 1.0);
  rope.rotary_dim = static_cast<int>(std::lround(dims));
  if (rope.rotary_dim != dims || rope.rotary_dim % 2 != 0 || rope.rotary_dim < 2 || rope.rotary_dim > source.head_dim) {
    partial_holder.note_problem("partial_rotary_factor", fmt::format("an even part of {} dims", source.head_dim));
  }
  rope.sections = read_sections(config, source.has_mrope, rope.rotary_dim / 2);
  return rope;
}

DecoderSpec read_decoder(HfConfig& config, std::string architecture) {
  config.expect_text("hidden_act", "silu");
  config.expect_flag_if_present("tie_word_embeddings", false);
  return {.architecture = std::move(architecture),
          .hidden_size = config.integer("hidden_size"),
          .vocab_size = config.integer("vocab_size"),
          .max_position_embeddings = config.integer("max_position_embeddings"),
          .norm_eps = static_cast<float>(config.number("rms_norm_eps")),
          .dense_inner_size = config.integer("intermediate_size")};
}

GqaSpec read_gqa(HfConfig& config, const GqaSource& source) {
  GqaSpec spec{.hidden_size = config.integer("hidden_size"),
               .num_heads = config.integer("num_attention_heads"),
               .num_kv_heads = config.integer("num_key_value_heads"),
               .has_qkv_bias = config.flag_or("attention_bias", source.default_bias),
               .has_qk_norm = config.flag_or("use_qk_norm", false),
               .norm_eps = static_cast<float>(config.number("rms_norm_eps"))};
  if (spec.num_heads % spec.num_kv_heads != 0)
    config.note_problem("num_key_value_heads", "a divisor of num_attention_heads");
  if (!config.has("head_dim") && spec.hidden_size % spec.num_heads != 0) {
    config.note_problem("head_dim", "an integer, as num_attention_heads does not divide hidden_size");
  }
  spec.head_dim = config.integer_or("head_dim", static_cast<int>(spec.hidden_size / spec.num_heads), 1);
  spec.rope = read_rope(config, {.pairing = source.pairing, .head_dim = spec.head_dim, .needs_partial_factor = true,
                                 .has_mrope = source.has_mrope});
  return spec;
}

void read_moe(HfConfig& config, DecoderSpec& spec) {
  config.expect_text_if_present("scoring_func", "sigmoid");
  config.expect_text_if_present("topk_method", "noaux_tc");
  MoeSpec moe{.hidden_size = spec.hidden_size,
              .inner_size = config.integer("moe_intermediate_size"),
              .num_experts = config.integer("n_routed_experts", 1, kMaxExperts),
              .has_shared_expert = config.integer("n_shared_experts", 0) == 1,
              .top_k = config.integer("num_experts_per_tok"),
              .num_groups = config.integer("n_group"),
              .top_k_groups = config.integer("topk_group"),
              .renormalize = config.flag("norm_topk_prob"),
              .routed_scale = static_cast<float>(config.number("routed_scaling_factor"))};
  if (config.integer("n_shared_experts", 0) > 1) config.note_problem("n_shared_experts", "0 or 1");
  if (moe.num_experts % moe.num_groups != 0) config.note_problem("n_group", "a divisor of n_routed_experts");
  if (moe.top_k_groups > moe.num_groups) config.note_problem("topk_group", "at most n_group");
  if (moe.top_k > moe.num_experts / moe.num_groups * moe.top_k_groups) {
    config.note_problem("num_experts_per_tok", "at most the experts in the chosen groups");
  }
  spec.moe = moe;
  spec.is_sparse = read_sparse_layers(config, config.integer("num_hidden_layers", 1, kMaxLayers));
  spec.num_mtp_layers = config.integer_or("num_nextn_predict_layers", 0, 0, kMaxLayers);
}

void read_dense(HfConfig& config, DecoderSpec& spec) {
  spec.is_sparse.assign(static_cast<size_t>(config.integer("num_hidden_layers", 1, kMaxLayers)), false);
}

}  // namespace gale
