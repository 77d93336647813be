#include "models/registry.h"
#include "models/text_config.h"

// Text half of GLM-4.6V-Flash and GLM-4.1V: as glm4, with rope positions on three axes.

namespace gale {
namespace {

void read_glm4v(HfConfig& config, DecoderSpec& spec) {
  spec.norms = NormPlacement::kSandwich;
  spec.attention = read_gqa(config, {.pairing = RopePairing::kInterleaved, .has_mrope = true, .default_bias = true});
  read_dense(config, spec);
}

}  // namespace

Result<std::unique_ptr<Decoder>> build_glm4v(ModelSource source) {
  return build_vision_language_model(std::move(source), read_glm4v);
}

}  // namespace gale
