#include "models/registry.h"
#include "models/text_config.h"

// GLM-4.5-Air and the 355B models: grouped-query attention, pre-norms, half-split rope on the first half of each head,
// sigmoid-routed experts behind dense first layers, an MTP layer; the large ones norm each q and k head (use_qk_norm).

namespace gale {
namespace {

void read_glm4_moe(HfConfig& config, DecoderSpec& spec) {
  spec.attention = read_gqa(config, {.pairing = RopePairing::kHalfSplit, .has_mrope = false, .default_bias = false});
  read_moe(config, spec);
}

}  // namespace

Result<std::unique_ptr<Decoder>> build_glm4_moe(ModelSource source) {
  return build_text_model(std::move(source), read_glm4_moe);
}

}  // namespace gale
