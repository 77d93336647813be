#include "models/registry.h"
#include "models/text_config.h"

// GLM-4-9B-0414: dense, grouped-query attention with biases on q, k, v, sandwich norms, interleaved rope on the first
// half of each head.

namespace gale {

Result<std::unique_ptr<Decoder>> build_glm4(ModelSource source) {
  HfConfig& config = source.config;
  DecoderSpec spec = read_decoder(config, source.architecture);
  spec.norms = NormPlacement::kSandwich;
  spec.attention = read_gqa(config, {.pairing = RopePairing::kInterleaved, .has_mrope = false, .default_bias = true});
  read_dense(config, spec);
  GALE_TRY(config.finish());
  return std::make_unique<Decoder>(std::move(spec), source.weights, std::move(source.parameters));
}

}  // namespace gale
