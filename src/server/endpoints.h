#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "base/guarded.h"
#include "server/call.h"
#include "server/generate_session.h"
#include "server/server_config.h"
#include "serving/pipeline.h"

namespace gale {

// What the server does at each route (server/routes.h). Thread-safe.
class Endpoints {
 public:
  Endpoints(const ServerConfig& config, Pipeline& pipeline, ServingMetrics& metrics)
      : config_(config), pipeline_(pipeline), metrics_(metrics) {}

  void live(Call& call);
  void ready(Call& call);
  void health(Call& call);
  void version(Call& call);
  void metrics(Call& call);
  void root(Call& call);
  void list_models(Call& call);
  void show_model(Call& call);
  void tokenize(Call& call);
  void detokenize(Call& call);
  void chat_completions(Call& call);
  void completions(Call& call);

  // /ready is 503 from now on.
  void leave() { is_leaving_ = true; }
  // New generating requests are refused from now on.
  void refuse_work() { is_refusing_ = true; }
  // Ends all generating requests with that error; how many there were.
  int abort_sessions(const Error& error);
  [[nodiscard]] int num_sessions() const;

 private:
  void reply_error(Call& call, const Error& error) { call.reply_error(error, pipeline_.retry_after_s()); }
  [[nodiscard]] Status check_model(const std::string& name) const;
  void run(Call& call, GenerateSession::Parts parts, std::vector<GenerateRequest> requests);

  const ServerConfig& config_;
  Pipeline& pipeline_;
  ServingMetrics& metrics_;
  std::atomic<bool> is_leaving_{false};
  std::atomic<bool> is_refusing_{false};
  Guarded<std::unordered_map<GenerateSession*, std::shared_ptr<GenerateSession>>> sessions_;   // shared with their calls
};

}  // namespace gale
