#include <chrono>
#include <filesystem>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/notify.h"
#include "app/signals.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "chat/chat_template.h"
#include "config/command_line.h"
#include "models/model.h"
#include "serving/engine_pipeline.h"
#include "serving/engine_process.h"
#include "server/api_server.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{50};
constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
constexpr size_t kMaxKeyFileBytes = size_t{16} << 20;

// What the front reads of a model folder; weights are the engine's.
struct FrontModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;   // null: the model has none
  GenerationDefaults defaults;
};

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

Result<FrontModel> load_front_model(const Config& config) {
  const std::string& folder = config.engine.model_dir;
  std::error_code trouble;
  if (!std::filesystem::is_directory(folder, trouble)) {
    return fail(ErrorCode::kNotFound,
                "model folder {} is not there: expected a folder with config.json, tokenizer.json and "
                "*.safetensors",
                folder);
  }
  // Headers only: an unknown architecture or a missing tensor is known before anybody waits for the engine.
  if (config.engine.script_file.empty()) {
    const Result<ModelPlan> plan = plan_model(folder, config.engine.load_format == LoadFormat::kDummy);
    if (!plan) return tl::unexpected(plan.error());
  }
  FrontModel out;
  const std::string& tokenizer_folder = config.serve.tokenizer.empty() ? folder : config.serve.tokenizer;
  GALE_ASSIGN(out.tokenizer, Tokenizer::load(tokenizer_folder + "/tokenizer.json"));
  GALE_ASSIGN(out.chat_template, load_template(config));
  GALE_ASSIGN(out.defaults, load_generation_defaults(folder));
  return out;
}

PipelineConfig make_pipeline_config(const Config& config) {
  PipelineConfig out = config.pipeline;
  const std::vector<std::string>& names = config.serve.served_model_names;
  out.model.path = config.engine.model_dir;
  if (names.empty()) {   // the folder's own name; the path as it was typed works, too
    const std::filesystem::path folder = std::filesystem::path(config.engine.model_dir).lexically_normal();
    out.model.name = (folder.has_filename() ? folder : folder.parent_path()).filename();
    if (out.model.name != config.engine.model_dir) out.model.aliases = {config.engine.model_dir};
  } else {
    out.model.name = names.front();
    out.model.aliases.assign(names.begin() + 1, names.end());
  }
  out.model.max_model_len = config.engine.scheduler.max_model_len;
  out.model.created = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::system_clock::now().time_since_epoch()).count();
  return out;
}

EngineLauncher make_launcher(Config config, const std::string& program, int num_valid_tokens) {
  config.engine.num_valid_tokens = num_valid_tokens;
  config.engine_process.channel_fd = kEngineChannelFd;
  std::vector<std::string> command = {program, "engine"};
  for (std::string& argument : arguments_for(Command::kEngine, config)) command.push_back(std::move(argument));
  return make_process_launcher(std::move(command), kVersion);
}

// Why the first engine did not get ready, if that is certain.
std::optional<Error> start_failure(const EnginePipeline& pipeline) {
  const PipelineStatus status = pipeline.status();
  if (status.engine || status.health != Health::kDead) return std::nullopt;
  if (std::optional<Error> fault = pipeline.engine_fault()) return fault;
  return Error{ErrorCode::kInternal, status.reason};
}

// The keys of --api-key-file.
Result<std::vector<KeyHash>> load_keys(const Config& config) {
  GALE_ASSIGN(const std::string text, read_file(config.serve.api_key_file, kMaxKeyFileBytes));
  return parse_key_file(text);
}

// A broken file changes nothing: who was let in stays in.
void reload_keys(const Config& config, ApiServer& server) {
  if (config.serve.api_key_file.empty()) return log_info("SIGHUP: there is no --api-key-file to read again");
  Result<std::vector<KeyHash>> keys = load_keys(config);
  if (!keys) return log_error("SIGHUP: the old keys stay: {}", keys.error().message);
  log_info("SIGHUP: {} keys", keys->size());
  server.set_file_keys(std::move(*keys));
}

// Until a signal comes or the first engine fails for good. The error of the latter.
std::optional<Error> watch(const Config& config, const EnginePipeline& pipeline, ApiServer& server,
                           const StopSignals& signals, ServiceNotifier& notifier) {
  const SteadyClock clock;
  bool was_ready = false;
  const auto look = [&]() -> std::optional<Error> {
    if (signals.wants_reload()) reload_keys(config, server);
    if (pipeline.status().health != Health::kStalled) notifier.alive(clock.now());
    if (was_ready) return std::nullopt;
    if (std::optional<Error> failure = start_failure(pipeline)) return failure;
    was_ready = pipeline.status().engine.has_value();
    if (!was_ready) return std::nullopt;
    log_info("Application startup complete.");
    notifier.ready();
    return std::nullopt;
  };
  while (!signals.wait(kWatchInterval)) {
    try {
      if (std::optional<Error> failure = look()) return failure;
    } catch (const std::bad_alloc&) {   // no reason to leave: the next look has more
      log_warning("there was no memory for a look at the engine");
    }
  }
  return std::nullopt;
}

}  // namespace

int run_serve(const Config& config, const std::string& program) {
  set_log_name("front");
  set_log_level(config.log_level);
  const StopSignals signals;
  Result<FrontModel> model = load_front_model(config);
  if (!model) return report(model.error());
  const SteadyClock clock;
  const int num_valid_tokens = model->tokenizer->vocab_size();
  PipelineConfig pipeline_config = make_pipeline_config(config);
  pipeline_config.grammar_compiler = make_grammar_processes({program, kGrammarCompilerCommand});
  const std::unique_ptr<EnginePipeline> pipeline =
      make_pipeline(std::move(pipeline_config), std::move(model->tokenizer), std::move(model->chat_template),
                    std::move(model->defaults), clock, make_launcher(config, program, num_valid_tokens));
  ServerConfig server_config = config.server;
  server_config.has_key_file = !config.serve.api_key_file.empty();
  std::vector<KeyHash> keys;
  if (server_config.has_key_file) {
    Result<std::vector<KeyHash>> loaded = load_keys(config);
    if (!loaded) return report(loaded.error());
    keys = std::move(*loaded);
  }
  const Result<std::unique_ptr<ApiServer>> server = ApiServer::start(server_config, *pipeline);
  if (!server) return report(server.error());
  (*server)->set_file_keys(std::move(keys));
  ServiceNotifier notifier(config.serve.notify_socket);
  if (const std::optional<Error> failure = watch(config, *pipeline, **server, signals, notifier)) {
    const int cut = (*server)->shut_down({.timeout = std::chrono::milliseconds(0)}, [] { return true; });
    if (cut > 0) log_warning("{} requests were cut", cut);
    return report(*failure);
  }
  notifier.stopping();
  log_info("Shutting down: {} requests have up to {} s to end", (*server)->num_live_requests(),
           std::chrono::duration<double>(config.shutdown.timeout).count());
  const int cut = (*server)->shut_down(config.shutdown, [&] { return signals.wait(std::chrono::milliseconds(0)); });
  if (cut > 0) log_warning("{} requests were cut", cut);
  pipeline->shutdown(Duration::zero());
  log_info("Application shutdown complete.");
  return 0;
}

}  // namespace gale
