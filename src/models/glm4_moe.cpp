#include "models/registry.h"
#include "models/text_config.h"

// GLM-4.5-Air and the 355B models: grouped-query attention, pre-norms, half-split rope on the first half of each head,
// sigmoid-routed experts behind dense first layers, an MTP layer; the large ones norm each q and k head (use_qk_norm).

namespace gale {

Result<std::unique_ptr<Decoder>> build_glm4_moe(ModelSource source) {
  HfConfig& config = source.config;
  DecoderSpec spec = read_decoder(config, source.architecture);
  spec.attention = read_gqa(config, {.pairing = RopePairing::kHalfSplit, .has_mrope = false, .default_bias = false});
  read_moe(config, spec);
  GALE_TRY(config.finish());
  return std::make_unique<Decoder>(std::move(spec), source.weights, std::move(source.parameters));
}

}  // namespace gale
