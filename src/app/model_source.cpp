#include "app/model_source.h"

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/exit_code.h"
#include "base/log.h"
#include "hub/hub.h"

namespace gale {

namespace {

bool is_of_hub(const std::string& name) {
  std::error_code trouble;
  return is_hub_name(name) && !std::filesystem::exists(name, trouble);
}

// --tokenizer may name another model of the Hub, of which the weights are not wanted.
Status find_tokenizer(Config& config, const std::function<bool()>& is_cancelled) {
  std::string& tokenizer = config.serve.tokenizer;
  if (!is_of_hub(tokenizer)) return {};
  HubConfig hub = config.hub;
  hub.revision = HubConfig().revision;   // --revision is the model's
  const HubWish wish{.name = tokenizer, .has_weights = false, .is_cancelled = is_cancelled};
  GALE_ASSIGN(tokenizer, find_hub_model(hub, wish));
  return {};
}

}   // namespace

Status find_model(Config& config, const std::function<bool()>& is_cancelled) {
  GALE_TRY(find_tokenizer(config, is_cancelled));
  std::string& model = config.engine.model_dir;
  if (!is_of_hub(model)) return {};
  const bool has_weights = !config.engine.has_random_weights() && config.engine.script_file.empty();
  GALE_ASSIGN(std::string folder,
              find_hub_model(config.hub, {.name = model, .has_weights = has_weights, .is_cancelled = is_cancelled}));
  log_info("{} is in {}", model, folder);
  if (config.serve.served_model_names.empty()) config.serve.served_model_names = {model};
  model = std::move(folder);
  return {};
}

Status find_cached_model(Config& config) {
  config.hub.is_offline = true;
  return find_model(config, [] { return false; });
}

int run_download(const Config& config) {
  if (!is_hub_name(config.engine.model_dir)) {
    return report({ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is no name on the Hub: expected OWNER/MODEL", config.engine.model_dir)});
  }
  const Result<std::string> folder = find_hub_model(config.hub, {.name = config.engine.model_dir});
  if (!folder) return report(folder.error());
  std::puts(folder->c_str());
  return 0;
}

}   // namespace gale
