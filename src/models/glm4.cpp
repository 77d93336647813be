#include "models/registry.h"
#include "models/text_config.h"

// GLM-4-9B-0414: dense, grouped-query attention with biases on q, k, v, sandwich norms, interleaved rope on the first
// half of each head.

namespace gale {
namespace {

void read_glm4(HfConfig& config, DecoderSpec& spec) {
  spec.norms = NormPlacement::kSandwich;
  spec.attention = read_gqa(config, {.pairing = RopePairing::kInterleaved, .has_mrope = false, .default_bias = true});
  read_dense(config, spec);
}

}  // namespace

Result<std::unique_ptr<Decoder>> build_glm4(ModelSource source) {
  return build_text_model(std::move(source), read_glm4);
}

}  // namespace gale
