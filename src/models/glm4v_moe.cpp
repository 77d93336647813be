#include "models/registry.h"
#include "models/text_config.h"
#include "models/vision_language.h"

// Text half of GLM-4.6V and GLM-4.5V: as glm4_moe, with rope positions on three axes.

namespace gale {

Result<std::unique_ptr<Decoder>> build_glm4v_moe(ModelSource source) {
  source.config.expect_flag_if_present("tie_word_embeddings", false);
  HfConfig text = source.config.section("text_config"), vision = source.config.section("vision_config");
  DecoderSpec spec = read_decoder(text, source.architecture);
  spec.attention = read_gqa(text, {.pairing = RopePairing::kHalfSplit, .has_mrope = true, .default_bias = true});
  read_moe(text, spec);
  const VisionSpec tower = read_vision(vision);
  GALE_TRY(source.config.finish());
  choose_text_prefixes(source.weights, spec);
  claim_vision(source.weights, tower);
  return std::make_unique<Decoder>(std::move(spec), source.weights, std::move(source.parameters));
}

}  // namespace gale
