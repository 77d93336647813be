#include "models/vision_language.h"

namespace gale {
namespace {

// The first prefix under which the checkpoint has `name`; the first of all if none has.
std::string prefix_of(const WeightSet& weights, std::initializer_list<const char*> prefixes, const std::string& name) {
  for (const char* prefix : prefixes) {
    if (weights.has(prefix + name)) return prefix;
  }
  return *prefixes.begin();
}

// Claims of the tower under its prefix.
class VisionClaims {
 public:
  VisionClaims(WeightSet& weights, std::string prefix) : weights_(weights), prefix_(std::move(prefix)) {}
  void claim(const std::string& name, const Shape& shape) {
    weights_.claim({.name = prefix_ + name, .shape = shape, .owner = "vision tower", .use = WeightUse::kNotUsed});
  }
  void claim_mlp(const std::string& name, int64_t inner, int64_t outer) {
    claim(name + "gate_proj.weight", {inner, outer});
    claim(name + "up_proj.weight", {inner, outer});
    claim(name + "down_proj.weight", {outer, inner});
  }

 private:
  WeightSet& weights_;
  std::string prefix_;
};

void claim_block(VisionClaims& claims, const std::string& name, const VisionSpec& spec) {
  const int64_t hidden = spec.hidden_size;
  claims.claim(name + "norm1.weight", {hidden});
  claims.claim(name + "norm2.weight", {hidden});
  claims.claim(name + "attn.qkv.weight", {3 * hidden, hidden});
  claims.claim(name + "attn.proj.weight", {hidden, hidden});
  if (spec.has_attention_bias) {
    claims.claim(name + "attn.qkv.bias", {3 * hidden});
    claims.claim(name + "attn.proj.bias", {hidden});
  }
  claims.claim_mlp(name + "mlp.", spec.out_hidden_size, hidden);   // not intermediate_size: that is the merger's
}

}  // namespace

void choose_text_prefixes(const WeightSet& weights, DecoderSpec& spec) {
  spec.text_prefix = prefix_of(weights, {"model.language_model.", "language_model.model."}, "embed_tokens.weight");
  spec.head_prefix = prefix_of(weights, {"", "language_model."}, "lm_head.weight");
}

VisionSpec read_vision(HfConfig& vision_config) {
  const int64_t patches_a_side = vision_config.integer("image_size") / vision_config.integer("patch_size");
  return {.depth = vision_config.integer("depth", 1, 1024),
          .hidden_size = vision_config.integer("hidden_size"),
          .out_hidden_size = vision_config.integer("out_hidden_size"),
          .merger_inner_size = vision_config.integer("intermediate_size"),
          .in_channels = vision_config.integer("in_channels"),
          .patch_size = vision_config.integer("patch_size"),
          .temporal_patch_size = vision_config.integer("temporal_patch_size"),
          .merge_size = vision_config.integer("spatial_merge_size"),
          .num_positions = patches_a_side * patches_a_side,
          .has_attention_bias = vision_config.flag_or("attention_bias", false)};
}

void claim_vision(WeightSet& weights, const VisionSpec& spec) {
  VisionClaims claims(weights, prefix_of(weights, {"model.visual.", "visual."}, "patch_embed.proj.weight"));
  const int64_t hidden = spec.hidden_size, out = spec.out_hidden_size, patch = spec.patch_size, merge = spec.merge_size;
  claims.claim("patch_embed.proj.weight", {hidden, spec.in_channels, spec.temporal_patch_size, patch, patch});
  claims.claim("patch_embed.proj.bias", {hidden});
  claims.claim("embeddings.position_embedding.weight", {spec.num_positions, hidden});
  claims.claim("post_conv_layernorm.weight", {hidden});
  for (int block = 0; block < spec.depth; ++block) claim_block(claims, "blocks." + std::to_string(block) + ".", spec);
  claims.claim("post_layernorm.weight", {hidden});
  claims.claim("downsample.weight", {out, hidden, merge, merge});
  claims.claim("downsample.bias", {out});
  claims.claim("merger.proj.weight", {out, out});
  claims.claim("merger.post_projection_norm.weight", {out});
  claims.claim("merger.post_projection_norm.bias", {out});
  claims.claim_mlp("merger.", spec.merger_inner_size, out);
}

}  // namespace gale
