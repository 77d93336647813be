#pragma once

#include "models/decoder.h"
#include "models/hf_config.h"

namespace gale {

// What the checkpoints of the vision-language models have in common.

// The prefix of the text tensors and of lm_head, in the order of today (model.language_model., lm_head) or the older
// one (language_model.model., language_model.lm_head).
void choose_text_prefixes(const WeightSet& weights, DecoderSpec& spec);

// The tensors of the vision tower, by vision_config. This build reads text only: they are claimed as known and not
// used.
struct VisionSpec {
  int depth, hidden_size, out_hidden_size, merger_inner_size, in_channels, patch_size, temporal_patch_size, merge_size;
  int64_t num_positions;  // of the learned grid
  bool has_attention_bias;
};
[[nodiscard]] VisionSpec read_vision(HfConfig& vision_config);
void claim_vision(WeightSet& weights, const VisionSpec& spec);

}  // namespace gale
