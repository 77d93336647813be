#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "models/decoder.h"
#include "models/hf_config.h"

namespace gale {

// What a model is built from: it reads its config, then declares every tensor of the checkpoint.
struct ModelSource {
  std::string architecture;
  HfConfig config;
  WeightSet& weights;
  std::unique_ptr<ParameterStore> parameters;
};

struct ModelRow {
  std::string_view architecture;   // config.json architectures[0]
  Result<std::unique_ptr<Decoder>> (*build)(ModelSource source);
};

[[nodiscard]] std::span<const ModelRow> model_rows();

// Fills what sets a model apart: norms, attention, MLPs. Sizes that all have are there already.
using ReadSpec = void (*)(HfConfig& config, DecoderSpec& spec);
// A model whose config.json describes a decoder and whose tensors are named model.* and lm_head.
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_text_model(ModelSource source, ReadSpec read);
// The text half of a model with a vision tower; reads text_config.
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_vision_language_model(ModelSource source, ReadSpec read);

// One a file of models/.
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_glm4(ModelSource source);
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_glm4_moe(ModelSource source);
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_glm4_moe_lite(ModelSource source);
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_glm4v(ModelSource source);
[[nodiscard]] Result<std::unique_ptr<Decoder>> build_glm4v_moe(ModelSource source);

}  // namespace gale
