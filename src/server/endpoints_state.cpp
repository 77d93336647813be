#include <cmath>

#include "server/endpoints.h"
#include "server/openapi.h"

namespace gale {
namespace {

std::string_view health_name(Health health) {
  switch (health) {
    case Health::kLoading: return "loading";
    case Health::kReady: return "ready";
    case Health::kDraining: return "draining";
    case Health::kStalled: return "stalled";
    case Health::kDead: return "dead";
  }
  return "dead";
}

void reply_health(Call& call, const PipelineStatus& status, bool is_good, std::string_view name) {
  Json body;
  body["status"] = is_good ? "ok" : std::string(name);
  if (!is_good && !status.reason.empty()) body["reason"] = status.reason;
  HttpFields fields;
  if (!is_good) fields.emplace_back("Retry-After", "1");
  call.reply(is_good ? 200 : 503, dump_json(body), "application/json", std::move(fields));
}

double rounded(float value) { return std::round(double{value} * 1e6) / 1e6; }   // 0.95, not 0.949999988

Json sampling_json(const SamplingParams& sampling) {
  return {{"temperature", rounded(sampling.temperature)},
          {"top_p", rounded(sampling.top_p)},
          {"top_k", sampling.top_k},
          {"min_p", rounded(sampling.min_p)},
          {"repetition_penalty", rounded(sampling.repetition_penalty)},
          {"presence_penalty", rounded(sampling.presence_penalty)},
          {"frequency_penalty", rounded(sampling.frequency_penalty)}};
}

}  // namespace

Endpoints::Endpoints(const ServerConfig& config, Pipeline& pipeline, ServingMetrics& metrics)
    : config_(config), pipeline_(pipeline), metrics_(metrics), responses_(config.max_stored_response_bytes),
      formats_(config, pipeline, responses_), generations_(pipeline, metrics), streams_(config.streams),
      openapi_(openapi_document(config.version, !config.api_keys.empty() || config.has_key_file)) {}

void Endpoints::live(Call& call) { call.reply(200, R"({"status":"ok"})"); }

void Endpoints::ready(Call& call) {
  const PipelineStatus status = pipeline_.status();
  const bool is_leaving = is_leaving_;
  reply_health(call, status, status.health == Health::kReady && !is_leaving,
               is_leaving ? "draining" : health_name(status.health));
}

// Draining is not ill: a probe that restarts us then would cut the requests that are still being answered.
void Endpoints::health(Call& call) {
  const PipelineStatus status = pipeline_.status();
  const bool is_good = status.health == Health::kReady || status.health == Health::kDraining;
  reply_health(call, status, is_good, health_name(status.health));
}

void Endpoints::version(Call& call) { call.reply(200, dump_json(Json{{"version", config_.version}})); }

void Endpoints::metrics(Call& call) {
  metrics_.refresh(pipeline_.status());
  call.reply(200, metrics_.text(), "text/plain; version=0.0.4; charset=utf-8");
}

void Endpoints::root(Call& call) {
  call.reply(200, dump_json(Json{{"name", "gale"},
                                 {"version", config_.version},
                                 {"models", "/v1/models"},
                                 {"health", "/health"},
                                 {"openapi", "/openapi.json"},
                                 {"docs", "/docs"},
                                 {"guide", "/docs/guide"}}));
}

void Endpoints::load(Call& call) { call.reply(200, dump_json(Json{{"server_load", generations_.num_live()}})); }

// Nothing here that a key holder may not know: no paths, no keys, no addresses.
void Endpoints::server_info(Call& call) {
  const PipelineStatus status = pipeline_.status();
  Json engine = nullptr;
  if (status.engine) {
    engine = {{"architecture", status.engine->model_name},   {"vocab_size", status.engine->vocab_size},
              {"block_size", status.engine->block_size},     {"num_blocks", status.engine->num_blocks},
              {"max_num_seqs", status.engine->max_num_seqs}, {"load_seconds", status.engine->load_seconds}};
  }
  const Json limits{{"max_model_len", context_length(pipeline_)},
                    {"max_choices", config_.max_choices},
                    {"max_logprobs", config_.max_logprobs},
                    {"max_request_bytes", config_.http.limits.max_body_bytes},
                    {"max_connections", config_.http.max_connections}};
  call.reply(200, dump_json(Json{{"name", "gale"},
                                 {"version", config_.version},
                                 {"model", pipeline_.model().name},
                                 {"uptime_seconds", seconds(std::chrono::steady_clock::now() - begin_)},
                                 {"health", health_name(status.health)},
                                 {"num_engine_restarts", status.num_engine_restarts},
                                 {"num_live_requests", status.num_live_requests},
                                 {"engine", std::move(engine)},
                                 {"sampling_defaults", sampling_json(pipeline_.model().sampling)},
                                 {"limits", limits}}));
}

void Endpoints::openapi(Call& call) {
  call.reply(200, openapi_);
}

void Endpoints::unsupported(Call& call) {
  reply_error(call, {ErrorCode::kUnimplemented, "not supported by this model: it generates text", {}});
}

}  // namespace gale
