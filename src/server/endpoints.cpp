#include "server/endpoints.h"

#include <algorithm>
#include <ctime>

#include "api/answer.h"
#include "api/model_info.h"
#include "api/openai_chat.h"
#include "api/openai_completions.h"

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

Result<Json> json_object_of(const Call& call) {
  GALE_ASSIGN(Json body, parse_json(call.request().body));
  if (!body.is_object()) return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object");
  return body;
}

// The shorter of what was configured and what the engine found room for; 0 while neither is known.
int context_length(const Pipeline& pipeline) {
  const int configured = pipeline.model().max_model_len;
  const std::optional<Ready> engine = pipeline.status().engine;
  if (!engine) return configured;
  return configured > 0 ? std::min(configured, engine->max_model_len) : engine->max_model_len;
}

std::vector<ModelCard> cards_of(const Pipeline& pipeline) {
  const ServedModel& model = pipeline.model();
  const int length = context_length(pipeline);
  std::vector<ModelCard> cards = {{model.name, model.created, length}};
  for (const std::string& alias : model.aliases) cards.push_back({alias, model.created, length});
  return cards;
}

ApiContext context_of(const ServerConfig& config, const PipelineStatus& status) {
  ApiContext context;
  context.limits.max_choices = config.max_choices;
  context.limits.max_logprobs = config.max_logprobs;
  context.vocab_size = status.engine ? status.engine->vocab_size : 0;
  return context;
}

}  // namespace

// ---- state ----------------------------------------------------------------------------------------------------------

void Endpoints::live(Call& call) { call.reply(200, R"({"status":"ok"})"); }

void Endpoints::ready(Call& call) {
  const PipelineStatus status = pipeline_.status();
  const bool is_leaving = is_leaving_;
  reply_health(call, status, status.health == Health::kReady && !is_leaving, is_leaving ? "draining" : health_name(status.health));
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
  call.reply(200, dump_json(Json{{"name", "gale"}, {"version", config_.version}, {"models", "/v1/models"}, {"health", "/health"}}));
}

// ---- models and tokens ------------------------------------------------------------------------------------------------

void Endpoints::list_models(Call& call) {
  const std::vector<ModelCard> cards = cards_of(pipeline_);
  call.reply(200, dump_json(model_list_json(cards)));
}

void Endpoints::show_model(Call& call) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name = call.request().head.path.substr(kPrefix.size());
  for (const ModelCard& card : cards_of(pipeline_)) {
    if (card.name == name) return call.reply(200, dump_json(model_json(card)));
  }
  reply_error(call, check_model(name).error());
}

Status Endpoints::check_model(const std::string& name) const {
  const ServedModel& model = pipeline_.model();
  if (name.empty() || name == model.name) return {};
  for (const std::string& alias : model.aliases) {
    if (name == alias) return {};
  }
  return fail_param(ErrorCode::kNotFound, "model", "model {} is not served here, see /v1/models", brief(Json(name)));
}

void Endpoints::tokenize(Call& call) {
  const auto answer = [&]() -> Result<std::string> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const TokenizeRequest request, parse_tokenize_request(body));
    GALE_TRY(check_model(request.model));
    GALE_ASSIGN(const std::vector<TokenId> tokens, pipeline_.tokenize(request.prompt));
    std::vector<std::string> texts;
    if (request.return_token_strs) {
      for (const TokenId token : tokens) texts.push_back(pipeline_.token_text(token));
    }
    return dump_json(tokenize_json(tokens, context_length(pipeline_), request.return_token_strs ? &texts : nullptr));
  }();
  if (!answer) return reply_error(call, answer.error());
  call.reply(200, *answer);
}

void Endpoints::detokenize(Call& call) {
  const auto answer = [&]() -> Result<std::string> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const DetokenizeRequest request, parse_detokenize_request(body, context_of(config_, pipeline_.status())));
    GALE_TRY(check_model(request.model));
    GALE_ASSIGN(const std::string text, pipeline_.detokenize(request.tokens));
    return dump_json(Json{{"prompt", text}});
  }();
  if (!answer) return reply_error(call, answer.error());
  call.reply(200, *answer);
}

// ---- generation -------------------------------------------------------------------------------------------------------

void Endpoints::chat_completions(Call& call) {
  auto prepared = [&]() -> Result<ChatRequest> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(ChatRequest request, parse_chat_request(body, context_of(config_, pipeline_.status())));
    GALE_TRY(check_model(request.answer.model));
    return request;
  }();
  if (!prepared) return reply_error(call, prepared.error());
  AnswerInfo info{.id = "chatcmpl-" + call.request_id(), .model = pipeline_.model().name, .created = std::time(nullptr),
                  .options = prepared->answer, .num_choices = prepared->generate.n, .include_reasoning = prepared->include_reasoning,
                  .token_text = [this](TokenId token) { return pipeline_.token_text(token); }};
  if (!prepared->answer.model.empty()) info.model = prepared->answer.model;
  const bool is_stream = prepared->answer.is_stream;
  GenerateSession::Parts parts{.writer = is_stream ? make_chat_stream(std::move(info)) : make_chat_answer(std::move(info)), .is_stream = is_stream};
  std::vector<GenerateRequest> requests;
  requests.push_back(std::move(prepared->generate));
  run(call, std::move(parts), std::move(requests));
}

void Endpoints::completions(Call& call) {
  auto prepared = [&]() -> Result<CompletionRequest> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(CompletionRequest request, parse_completion_request(body, context_of(config_, pipeline_.status())));
    GALE_TRY(check_model(request.answer.model));
    return request;
  }();
  if (!prepared) return reply_error(call, prepared.error());
  const size_t num_requests = prepared->generate.size();
  AnswerInfo info{.id = "cmpl-" + call.request_id(), .model = pipeline_.model().name, .created = std::time(nullptr),
                  .options = prepared->answer, .num_requests = static_cast<int>(num_requests),
                  .num_choices = prepared->generate.front().n, .echo = prepared->echo,
                  .token_text = [this](TokenId token) { return pipeline_.token_text(token); }};
  if (!prepared->answer.model.empty()) info.model = prepared->answer.model;
  const bool is_stream = prepared->answer.is_stream;
  run(call,
      {.writer = is_stream ? make_completion_stream(std::move(info)) : make_completion_answer(std::move(info)),
       .is_stream = is_stream, .num_requests = num_requests},
      std::move(prepared->generate));
}

void Endpoints::run(Call& call, GenerateSession::Parts parts, std::vector<GenerateRequest> requests) {
  if (is_refusing_) return reply_error(call, {ErrorCode::kUnavailable, "the server is shutting down: try another one", {}});
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].request_id = requests.size() == 1 ? call.request_id() : fmt::format("{}-{}", call.request_id(), i);
  }
  auto session = std::make_shared<GenerateSession>(std::move(parts), call.shared_from_this(), pipeline_, metrics_);
  sessions_.with([&](auto& sessions) { sessions.emplace(session.get(), session); });
  call.on_end([this, session](ExchangeEnd) {
    session->release();
    sessions_.with([&](auto& sessions) { sessions.erase(session.get()); });
  });
  session->start(std::move(requests));
}

int Endpoints::abort_sessions(const Error& error) {
  std::vector<std::shared_ptr<GenerateSession>> all;
  sessions_.with([&](auto& sessions) {
    for (const auto& [key, session] : sessions) all.push_back(session);
  });
  for (const auto& session : all) session->abort(error);
  return static_cast<int>(all.size());
}

int Endpoints::num_sessions() const {
  return sessions_.with([](const auto& sessions) { return static_cast<int>(sessions.size()); });
}

}  // namespace gale
