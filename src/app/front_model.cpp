#include "app/front_model.h"

#include <filesystem>

#include "base/log.h"
#include "base/mapped_file.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

Result<std::unique_ptr<ChatTemplate>> load_template(const Config& config) {
  if (!config.serve.chat_template.empty()) {
    GALE_ASSIGN(const std::string source, read_file(config.serve.chat_template, kMaxTemplateBytes));
    return ChatTemplate::parse(source, Json());
  }
  Result<std::unique_ptr<ChatTemplate>> loaded = ChatTemplate::load(config.engine.model_dir);
  if (!loaded && loaded.error().code == ErrorCode::kNotFound) {
    log_warning("{}: chats will be refused, completions work", loaded.error().message);
    return std::unique_ptr<ChatTemplate>();
  }
  return loaded;
}

}  // namespace

Result<FrontModel> load_front_model(const Config& config) {
  const std::string& folder = config.engine.model_dir;
  std::error_code trouble;
  if (!std::filesystem::is_directory(folder, trouble)) {
    return fail(ErrorCode::kNotFound,
                "model folder {} is not there: expected a folder with config.json, tokenizer.json and "
                "*.safetensors, or a name on the Hub such as zai-org/GLM-4.7-Flash",
                folder);
  }
  // Headers only: an unknown architecture or a missing tensor is known before anybody waits for the engine.
  if (config.engine.script_file.empty()) {
    const Result<ModelPlan> plan = plan_model(folder, config.engine.has_random_weights());
    if (!plan) return tl::unexpected(plan.error());
  }
  FrontModel out;
  const std::string& tokenizer_folder = config.serve.tokenizer.empty() ? folder : config.serve.tokenizer;
  GALE_ASSIGN(out.tokenizer, Tokenizer::load(tokenizer_folder + "/tokenizer.json"));
  GALE_ASSIGN(out.chat_template, load_template(config));
  GALE_ASSIGN(out.defaults, load_generation_defaults(folder));
  return out;
}

}  // namespace gale
