#include "models/registry.h"
#include "models/text_config.h"

// GLM-4.7-Flash: multi-head latent attention, pre-norms, interleaved rope on the rope part of each head, sigmoid-routed
// experts behind a dense first layer, one MTP layer. `head_dim` of saved configs is an alias of qk_rope_head_dim: not
// read.

namespace gale {
namespace {

MlaSpec read_mla(HfConfig& config, const DecoderSpec& decoder) {
  config.expect_flag_if_present("attention_bias", false);
  config.expect_flag_if_present("rope_interleave", true);
  MlaSpec spec{.hidden_size = decoder.hidden_size,
               .num_heads = config.integer("num_attention_heads"),
               .q_lora_rank = config.integer("q_lora_rank"),
               .kv_lora_rank = config.integer("kv_lora_rank"),
               .qk_nope_head_dim = config.integer("qk_nope_head_dim"),
               .qk_rope_head_dim = config.integer("qk_rope_head_dim", 2),
               .v_head_dim = config.integer("v_head_dim"),
               .norm_eps = decoder.norm_eps};
  spec.rope = read_rope(config, {.pairing = RopePairing::kInterleaved, .head_dim = spec.qk_rope_head_dim,
                                 .needs_partial_factor = false, .has_mrope = false});
  if (spec.rope.rotary_dim != spec.qk_rope_head_dim) config.note_problem("partial_rotary_factor", "1.0");
  return spec;
}

void read_glm4_moe_lite(HfConfig& config, DecoderSpec& spec) {
  spec.attention = read_mla(config, spec);
  read_moe(config, spec);
}

}  // namespace

Result<std::unique_ptr<Decoder>> build_glm4_moe_lite(ModelSource source) {
  return build_text_model(std::move(source), read_glm4_moe_lite);
}

}  // namespace gale
