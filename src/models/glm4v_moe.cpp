#include "models/registry.h"
#include "models/text_config.h"

// Text half of GLM-4.6V and GLM-4.5V: as glm4_moe, with rope positions on three axes.

namespace gale {
namespace {

void read_glm4v_moe(HfConfig& config, DecoderSpec& spec) {
  spec.attention = read_gqa(config, {.pairing = RopePairing::kHalfSplit, .has_mrope = true, .default_bias = true});
  read_moe(config, spec);
}

}  // namespace

Result<std::unique_ptr<Decoder>> build_glm4v_moe(ModelSource source) {
  return build_vision_language_model(std::move(source), read_glm4v_moe);
}

}  // namespace gale
