#include "models/registry.h"

#include <fmt/ranges.h>

#include <array>

#include "models/products.h"
#include "models/quantization.h"
#include "models/text_config.h"
#include "models/vision_language.h"

namespace gale {
namespace {

constexpr std::array kRows = {
    ModelRow{"Glm4MoeLiteForCausalLM", build_glm4_moe_lite},
    ModelRow{"Glm4ForCausalLM", build_glm4},
    ModelRow{"Glm4vForConditionalGeneration", build_glm4v},
    ModelRow{"Glm46VForConditionalGeneration", build_glm4v},
    ModelRow{"Glm4MoeForCausalLM", build_glm4_moe},
    ModelRow{"Glm4vMoeForConditionalGeneration", build_glm4v_moe},
};

Result<const ModelRow*> find_row(HfConfig& config, const std::string& folder) {
  const std::vector<std::string> architectures = config.texts("architectures");
  GALE_TRY(config.finish());
  const std::string name = architectures.empty() ? "" : architectures.front();
  std::vector<std::string_view> known;
  for (const ModelRow& row : kRows) {
    if (row.architecture == name) return &row;
    known.push_back(row.architecture);
  }
  return fail(ErrorCode::kUnimplemented, "{}/config.json: architecture \"{}\" is not known; known are {}", folder, name,
              fmt::join(known, ", "));
}

// Builds the model of a folder with every weight claimed; nothing is loaded.
Result<std::unique_ptr<Decoder>> build_model(const std::string& folder, WeightSet& weights, DType activation_dtype,
                                             WeightFormat format) {
  GALE_ASSIGN(HfConfig config, HfConfig::read(folder));
  GALE_ASSIGN(const ModelRow* row, find_row(config, folder));
  GALE_ASSIGN(std::unique_ptr<Decoder> model, row->build({std::string(row->architecture), config, weights,
                                                          std::make_unique<ParameterStore>(activation_dtype, format)}));
  GALE_TRY(weights.finish());
  return model;
}

struct OpenCheckpoint { Checkpoint files; StoredWeights stored; };

// config.json first: "no such architecture" says more than a missing tensor.
Result<OpenCheckpoint> open_checkpoint(const std::string& folder, bool is_dummy) {
  GALE_ASSIGN(HfConfig config, HfConfig::read(folder));
  GALE_TRY(find_row(config, folder));
  GALE_ASSIGN(const StoredWeights stored, read_stored_weights(config, folder));
  if (is_dummy) return OpenCheckpoint{Checkpoint::dummy(folder), stored};
  GALE_ASSIGN(Checkpoint files, Checkpoint::open(folder));
  return OpenCheckpoint{std::move(files), stored};
}

class ClaimedModel final : public UnloadedModel {
 public:
  ClaimedModel(const LoadOptions& options, OpenCheckpoint opened)
      : options_(options), opened_(std::move(opened)), weights_(opened_.files) {}

  Status build() {
    const bool is_fp8 =
        opened_.stored == StoredWeights::kFp8Rows && supports_weight_format(*options_.ops, WeightFormat::kF8E4M3);
    GALE_ASSIGN(model_, build_model(options_.model_dir, weights_, options_.device->caps().activation_dtype,
                                    is_fp8 ? WeightFormat::kF8E4M3 : options_.weight_format));
    model_->set_weight_bytes(model_->parameters().bytes_needed(*options_.ops));
    model_->set_products(products_of(model_->parameters().matrix_shapes(), model_->info()));
    return {};
  }
  [[nodiscard]] const Model& model() const override { return *model_; }
  [[nodiscard]] size_t staging_bytes() const override {
    return model_->parameters().staging_bytes(*options_.device, options_.is_dummy);
  }
  [[nodiscard]] Result<std::unique_ptr<Model>> load() override {
    CHECK(model_ != nullptr, "a model is loaded once");
    ParameterStore& parameters = model_->parameters();
    GALE_TRY(options_.is_dummy
                 ? parameters.load_random(*options_.device, *options_.ops, options_.on_progress, options_.dummy_routing)
                 : parameters.load(*options_.device, *options_.ops, options_.on_progress, &opened_.files));
    model_->set_weight_bytes(parameters.num_bytes());
    return std::move(model_);
  }

 private:
  LoadOptions options_;
  OpenCheckpoint opened_;
  WeightSet weights_;                  // refers to the files
  std::unique_ptr<Decoder> model_;
};

}  // namespace

std::span<const ModelRow> model_rows() { return kRows; }

Result<std::unique_ptr<Decoder>> build_text_model(ModelSource source, ReadSpec read) {
  DecoderSpec spec = read_decoder(source.config, source.architecture);
  read(source.config, spec);
  GALE_TRY(source.config.finish());
  return std::make_unique<Decoder>(std::move(spec), source.weights, std::move(source.parameters));
}

Result<std::unique_ptr<Decoder>> build_vision_language_model(ModelSource source, ReadSpec read) {
  source.config.expect_flag_if_present("tie_word_embeddings", false);
  HfConfig text = source.config.section("text_config"), vision = source.config.section("vision_config");
  DecoderSpec spec = read_decoder(text, source.architecture);
  read(text, spec);
  const VisionSpec tower = read_vision(vision);
  GALE_TRY(source.config.finish());
  choose_text_prefixes(source.weights, spec);
  claim_vision(source.weights, tower);
  return std::make_unique<Decoder>(std::move(spec), source.weights, std::move(source.parameters));
}

Result<std::unique_ptr<UnloadedModel>> open_model(const LoadOptions& options) {
  CHECK(options.device != nullptr && options.ops != nullptr, "loading needs a device and its ops");
  GALE_ASSIGN(OpenCheckpoint opened, open_checkpoint(options.model_dir, options.is_dummy));
  auto model = std::make_unique<ClaimedModel>(options, std::move(opened));
  GALE_TRY(model->build());
  return model;
}

Result<std::unique_ptr<Model>> load_model(const LoadOptions& options) {
  GALE_ASSIGN(const std::unique_ptr<UnloadedModel> model, open_model(options));
  return model->load();
}

Result<ModelPlan> plan_model(const std::string& model_dir, bool is_dummy) {
  GALE_ASSIGN(const OpenCheckpoint opened, open_checkpoint(model_dir, is_dummy));
  WeightSet weights(opened.files, false);
  GALE_ASSIGN(const std::unique_ptr<Decoder> model, build_model(model_dir, weights, DType::kF32, WeightFormat::kAsIs));
  ModelPlan plan{.info = model->info(), .kv_layout = model->kv_layout(), .tensors = {}};
  for (const auto& [name, claim] : weights.claims()) {
    plan.tensors.push_back({name, std::string(name_of(claim.tensor->data.dtype)), claim.tensor->data.shape,
                            claim.tensor->file, describe(claim)});
  }
  return plan;
}

}  // namespace gale
