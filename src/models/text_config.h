#pragma once

#include "models/decoder.h"
#include "models/hf_config.h"

namespace gale {

// Parts of config.json that several models share. Each reads what is there and notes problems in `config`.

// Rope parameters in the new form (rope_parameters) or the older one (rope_theta, partial_rotary_factor, rope_scaling
// beside the sizes); a missing theta is a problem, never a default, as is any rope_type but "default".
struct RopeSource {
  RopePairing pairing;
  int head_dim;
  bool needs_partial_factor;   // else an absent factor means 1
  bool has_mrope;              // three axes: mrope_section must be there; else it must not
};
[[nodiscard]] RopeParams read_rope(HfConfig& config, const RopeSource& source);

// Sizes that every decoder has; also refuses what none of the models does (another activation, tied embeddings, …).
[[nodiscard]] DecoderSpec read_decoder(HfConfig& config, std::string architecture);

struct GqaSource { RopePairing pairing; bool has_mrope; bool default_bias; };
[[nodiscard]] GqaSpec read_gqa(HfConfig& config, const GqaSource& source);

// Experts, and which layers have them (mlp_layer_types or first_k_dense_replace) into spec.moe and spec.is_sparse.
void read_moe(HfConfig& config, DecoderSpec& spec);

// All layers dense.
void read_dense(HfConfig& config, DecoderSpec& spec);

}  // namespace gale
