#include <atomic>
#include <chrono>
#include <filesystem>
#include <new>

#include "app/certificate_watch.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/front_model.h"
#include "app/model_source.h"
#include "app/notify.h"
#include "app/predecessor.h"
#include "app/signals.h"
#include "app/successor.h"
#include "app/takeover_door.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "config/command_line.h"
#include "server/api_server.h"
#include "serving/engine_pipeline.h"
#include "serving/engine_process.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{50};
constexpr size_t kMaxKeyFileBytes = size_t{16} << 20;

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

// Connections that are open go on with what they shook hands with.
void reload_certificate(std::string_view why, ApiServer& server) {
  if (const Status loaded = server.reload_certificate(); !loaded) {
    return log_error("{}: the old certificate stays: {}", why, loaded.error().message);
  }
  log_info("{}: the certificate was read again", why);
}

// What a server that wants this one's place is told and given.
class Host final : public TakeoverHost {
 public:
  Host(const Config& config, const EnginePipeline& pipeline, const ApiServer& server)
      : config_(config), pipeline_(pipeline), server_(server) {}
  Json facts() const override {
    Json engine = nullptr;
    if (const std::optional<Ready> ready = pipeline_.status().engine) {
      engine = {{"max_model_len", ready->max_model_len},
                {"max_num_seqs", ready->max_num_seqs},
                {"num_cache_tokens", ready->num_blocks * ready->block_size},
                {"memory_bytes", ready->memory_bytes}};
    }
    return {{"host", config_.server.http.host},
            {"patience_ms", config_.shutdown.timeout.count()},
            {"engine", std::move(engine)}};
  }
  std::vector<UniqueFd> listeners() const override {
    std::vector<UniqueFd> out;
    for (const int fd : server_.duplicate_listeners()) out.emplace_back(fd);
    return out;
  }

 private:
  const Config& config_;
  const EnginePipeline& pipeline_;
  const ApiServer& server_;
};

// `gale serve`: from the first signal it could get to the last request.
class Front {
 public:
  Front(Config config, std::string program)
      : config_(std::move(config)), program_(std::move(program)), notifier_(config_.serve.notify_socket) {}
  int run();

 private:
  enum class Wait { kReady, kStopped, kFailed };
  // The first engine: is there while the predecessor serves, looks whether it will fit, or begins when that has left.
  enum class First { kBeside, kLooks, kAfter };

  [[nodiscard]] Status find_predecessor();
  [[nodiscard]] Status make_pipeline(First first);
  [[nodiscard]] Wait load_beside();
  [[nodiscard]] std::optional<Error> load_first();
  [[nodiscard]] Status listen();
  void open_door();
  [[nodiscard]] std::optional<Error> serve();
  int leave();

  Config config_;
  const std::string program_;
  const StopSignals signals_;
  const SteadyClock clock_;
  CertificateWatch certificate_{config_.server.http.tls};   // before the files are read: no change is missed
  ServiceNotifier notifier_;
  std::vector<KeyHash> keys_;
  std::unique_ptr<Predecessor> predecessor_;   // outlives the pipeline, whose engine may wait for its end
  std::unique_ptr<EnginePipeline> pipeline_;
  std::unique_ptr<ApiServer> server_;
  std::unique_ptr<TakeoverDoor> door_;
  Successor successor_;
  std::optional<Peer> new_server_;             // has this one's sockets and serves
};

Status Front::find_predecessor() {
  if (!config_.serve.takes_over) return {};
  const int port = config_.server.http.port;
  GALE_ASSIGN(predecessor_, Predecessor::find(runtime_dir(config_.serve.runtime_dir), port));
  if (!predecessor_) {
    log_info("No gale on port {} can be taken over from: this one starts by itself", port);
    return {};
  }
  // Who may reach the server follows from --host: that must not change under a socket that is handed on.
  if (predecessor_->host() == config_.server.http.host) return {};
  return fail_param(ErrorCode::kInvalidArgument, "host",
                    "--host is '{}', the running gale has '{}': an address cannot change while a server is taken over",
                    config_.server.http.host, predecessor_->host());
}

Status Front::make_pipeline(First first) {
  GALE_ASSIGN(FrontModel model, load_front_model(config_));
  PipelineConfig pipeline_config = make_pipeline_config(config_);
  std::vector<std::string> compiler = {program_, "grammar-compiler"};
  for (std::string& argument : arguments_for(Command::kGrammarCompiler, config_)) {
    compiler.push_back(std::move(argument));
  }
  pipeline_config.grammar_compiler = make_grammar_processes(std::move(compiler));
  const bool never_waits = config_.serve.takeover_engine == TakeoverEngine::kBeside;
  const bool may_wait = predecessor_ && first != First::kAfter && !never_waits;
  Config engine_config = config_;
  engine_config.engine_process = {.freed_later_bytes = may_wait ? predecessor_->memory_bytes() : 0,
                                  .only_looks = first == First::kLooks};
  EngineLauncher launcher = make_launcher(std::move(engine_config), program_, model.tokenizer->vocab_size());
  if (first == First::kAfter) {
    pipeline_config.expected = predecessor_->engine();
    launcher = [this, launch = std::move(launcher)]() -> Result<std::unique_ptr<EngineProcess>> {
      if (!predecessor_->wait_for_end()) return fail(ErrorCode::kUnavailable, "the server is shutting down");
      return launch();
    };
  }
  pipeline_ = gale::make_pipeline(std::move(pipeline_config), std::move(model.tokenizer),
                                  std::move(model.chat_template), std::move(model.defaults), clock_,
                                  std::move(launcher));
  return {};
}

// The first engine, while the predecessor serves.
Front::Wait Front::load_beside() {
  while (!signals_.wait(kWatchInterval)) {
    if (pipeline_->status().engine) return Wait::kReady;
    if (start_failure(*pipeline_)) return Wait::kFailed;
  }
  return Wait::kStopped;
}

// Until this server may take the running one's place: with an engine, or knowing that it will get one. A clean end of
// the wait is kCancelled.
std::optional<Error> Front::load_first() {
  const TakeoverEngine when = config_.serve.takeover_engine;
  const bool is_after = predecessor_ && when == TakeoverEngine::kAfter;
  const bool is_known = predecessor_ && predecessor_->memory_bytes() > 0;
  const First first = !is_after ? First::kBeside : is_known ? First::kLooks : First::kAfter;
  if (const Status made = make_pipeline(first); !made) return made.error();
  if (!predecessor_ || first == First::kAfter) return std::nullopt;
  const Wait end = load_beside();
  if (end == Wait::kReady) return std::nullopt;
  if (end == Wait::kStopped) return Error{ErrorCode::kCancelled, "stopped", ""};
  Error failure = start_failure(*pipeline_).value_or(Error{});
  if (when == TakeoverEngine::kBeside) return failure;
  if (failure.code == ErrorCode::kOutOfMemory && !is_known)
    failure.message += ". What the running server would give back is not known: --takeover-engine after ends it first";
  if (failure.code != ErrorCode::kBusy) return failure;   // it goes on, whatever is wrong with this one
  log_info("{}requests will wait until the running one has left. {}",
           is_after ? "As --takeover-engine says, " : "There is no memory for two engines: ", failure.message);
  pipeline_.reset();
  if (const Status made = make_pipeline(First::kAfter); !made) return made.error();
  return std::nullopt;
}

Status Front::listen() {
  ServerConfig server_config = config_.server;
  server_config.has_key_file = !config_.serve.api_key_file.empty();
  std::vector<int> sockets;
  if (predecessor_) {
    Result<std::vector<int>> taken = predecessor_->take_listeners();
    if (taken) sockets = std::move(*taken);
    // One that died meanwhile left its port free.
    else if (taken.error().code != ErrorCode::kUnavailable) return tl::unexpected(taken.error());
    else log_warning("The gale to take over from is gone ({}): this one listens by itself", taken.error().message);
  }
  GALE_ASSIGN(server_, ApiServer::start_on(sockets, server_config, *pipeline_));
  server_->set_file_keys(std::move(keys_));
  open_door();
  if (sockets.empty()) return {};
  if (const Status told = predecessor_->serving(); !told) log_warning("{}", told.error().message);
  log_info("Took over from process {}, which answers what it has and leaves", predecessor_->pid());
  return {};
}

void Front::open_door() {
  auto door = TakeoverDoor::open(runtime_dir(config_.serve.runtime_dir), server_->port());
  if (door) door_ = std::move(*door);
  else log_warning("No other gale will be able to take over from this one: {}", door.error().message);
}

// Until a signal comes, another server took over, or the first engine fails for good. The error of the latter.
std::optional<Error> Front::serve() {
  const Host host(config_, *pipeline_, *server_);
  bool was_ready = false;
  const auto look = [&]() -> std::optional<Error> {
    if (signals_.wants_reload()) {
      reload_keys(config_, *server_);
      if (config_.server.http.tls.is_on()) reload_certificate("SIGHUP", *server_);
    }
    if (config_.serve.refreshes_certificate && certificate_.has_changed())
      reload_certificate("a file has changed", *server_);
    if (signals_.wants_other_log_level()) switch_log_level(config_.log_level);
    if (signals_.wants_successor()) successor_.start();
    successor_.look();
    if (door_) new_server_ = door_->look(host);
    if (new_server_) return std::nullopt;
    if (pipeline_->status().health != Health::kStalled) notifier_.alive(clock_.now());
    if (was_ready) return std::nullopt;
    if (std::optional<Error> failure = start_failure(*pipeline_)) return failure;
    was_ready = pipeline_->status().engine.has_value();
    if (!was_ready) return std::nullopt;
    log_info("Application startup complete.");
    notifier_.ready();
    return std::nullopt;
  };
  while (!new_server_ && !signals_.wait(kWatchInterval)) {
    try {
      if (std::optional<Error> failure = look()) return failure;
    } catch (const std::bad_alloc&) {   // no reason to leave: the next look has more
      log_warning("there was no memory for a look at the engine");
    }
  }
  return std::nullopt;
}

int Front::leave() {
  const auto is_urged = [this] { return signals_.wait(std::chrono::milliseconds(0)); };
  const double patience = std::chrono::duration<double>(config_.shutdown.timeout).count();
  int cut = 0;
  if (new_server_) {
    notifier_.succeeded_by(new_server_->pid);
    log_info("Process {} took over: {} requests have up to {} s to end", new_server_->pid,
             server_->num_live_requests(), patience);
    cut = server_->leave_to_successor(config_.shutdown, is_urged);
  } else {
    notifier_.stopping();
    log_info("Shutting down: {} requests have up to {} s to end", server_->num_live_requests(), patience);
    cut = server_->shut_down(config_.shutdown, is_urged);
  }
  if (cut > 0) log_warning("{} requests were cut", cut);
  if (predecessor_) predecessor_->stop_waiting();
  pipeline_->shutdown(Duration::zero());
  log_info("Application shutdown complete.");
  return 0;
}

int Front::run() {
  std::atomic<bool> is_stopped{false};           // a signal is told once
  const auto is_cancelled = [&] {
    if (signals_.wait(std::chrono::milliseconds(0))) is_stopped = true;
    return is_stopped.load();
  };
  if (const Status found = find_model(config_, is_cancelled); !found) {
    return found.error().code == ErrorCode::kCancelled ? 0 : report(found.error());
  }
  if (!config_.serve.api_key_file.empty()) {
    Result<std::vector<KeyHash>> loaded = load_keys(config_);
    if (!loaded) return report(loaded.error());
    keys_ = std::move(*loaded);
  }
  if (const Status found = find_predecessor(); !found) return report(found.error());
  if (const std::optional<Error> failure = load_first())
    return failure->code == ErrorCode::kCancelled ? 0 : report(*failure);
  if (const Status listening = listen(); !listening) {
    if (predecessor_) predecessor_->stop_waiting();
    return report(listening.error());
  }
  if (const std::optional<Error> failure = serve()) {
    const int cut = server_->shut_down({.timeout = std::chrono::milliseconds(0)}, [] { return true; });
    if (cut > 0) log_warning("{} requests were cut", cut);
    return report(*failure);
  }
  return leave();
}

}  // namespace

int run_serve(const Config& config, const std::string& program) {
  return Front(config, program).run();
}

}  // namespace gale
