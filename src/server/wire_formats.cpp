#include "server/wire_formats.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "api/openai_chat.h"
#include "api/openai_completions.h"
#include "api/openai_embeddings.h"
#include "api/openai_responses.h"
#include "server/access.h"

namespace gale {

int context_length(const Pipeline& pipeline) { return pipeline.status().max_model_len; }

ApiContext WireFormats::context() const {
  const PipelineStatus status = pipeline_.status();
  ApiContext context;
  context.limits.max_choices = config_.max_choices;
  context.limits.max_logprobs = config_.max_logprobs;
  // Before there is an engine only the pipeline knows which ids there are.
  context.vocab_size = status.engine ? status.engine->vocab_size : std::numeric_limits<int>::max();
  context.hidden_size = status.engine ? status.engine->hidden_size : 0;
  context.pooling = config_.pooling;
  return context;
}

Status WireFormats::check_model(const std::string& name) const {
  const ServedModel& model = pipeline_.model();
  const bool is_alias = std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
  if (name.empty() || name == model.name || is_alias) return {};
  return fail_param(ErrorCode::kNotFound, "model", "model {} is not served here, see /v1/models", brief(Json(name)));
}

AnswerInfo WireFormats::info(std::string_view prefix, const std::string& request_id,
                             const AnswerOptions& options) const {
  AnswerInfo info{.id = std::string(prefix) + request_id, .request_id = request_id, .model = pipeline_.model().name,
                  .created = std::time(nullptr), .options = options,
                  .token_text = [this](TokenId token) { return pipeline_.token_text(token); }};
  if (!options.model.empty()) info.model = options.model;
  return info;
}

namespace {

// A chat with the one writer that its format has.
Generation generation_of(ChatRequest request, std::unique_ptr<AnswerWriter> writer, const Asker& asker) {
  Generation out{.writer = std::move(writer), .is_stream = request.answer.is_stream, .requests = {}};
  request.generate.tenant = asker.owner;
  out.requests.push_back(std::move(request.generate));
  return out;
}

}  // namespace

Result<Generation> WireFormats::chat(const Json& body, const Asker& asker) const {
  GALE_ASSIGN(ChatRequest request, parse_chat_request(body, context()));
  GALE_TRY(check_model(request.answer.model));
  AnswerInfo info = this->info("chatcmpl-", asker.request_id, request.answer);
  info.num_choices = request.generate.n;
  info.include_reasoning = request.include_reasoning;
  auto writer = request.answer.is_stream ? make_chat_stream(std::move(info)) : make_chat_answer(std::move(info));
  return generation_of(std::move(request), std::move(writer), asker);
}

Result<Generation> WireFormats::completion(const Json& body, const Asker& asker) const {
  GALE_ASSIGN(CompletionRequest request, parse_completion_request(body, context()));
  GALE_TRY(check_model(request.answer.model));
  AnswerInfo info = this->info("cmpl-", asker.request_id, request.answer);
  info.num_requests = static_cast<int>(request.generate.size());
  info.num_choices = request.generate.front().n;
  info.echo = request.echo;
  for (GenerateRequest& one : request.generate) one.tenant = asker.owner;
  auto writer =
      request.answer.is_stream ? make_completion_stream(std::move(info)) : make_completion_answer(std::move(info));
  if (request.is_echo_only) writer = make_echo_only(std::move(writer));
  return Generation{
      .writer = std::move(writer), .is_stream = request.answer.is_stream, .requests = std::move(request.generate)};
}

Result<Generation> WireFormats::embeddings(const Json& body, const Asker& asker) const {
  GALE_ASSIGN(EmbeddingRequest request, parse_embedding_request(body, context()));
  GALE_TRY(check_model(request.answer.model));
  request.generate.tenant = asker.owner;
  Generation out{.writer = make_embedding_answer(info("embd-", asker.request_id, request.answer), request.form)};
  out.requests.push_back(std::move(request.generate));
  return out;
}

Result<Generation> WireFormats::messages(const Json& body, const Asker& asker) const {
  GALE_ASSIGN(ChatRequest request, parse_messages_request(body, context(), messages_options()));
  GALE_TRY(check_model(request.answer.model));
  auto writer = make_messages_writer(info("msg_", asker.request_id, request.answer));
  return generation_of(std::move(request), std::move(writer), asker);
}

Result<Generation> WireFormats::responses(const Json& body, const Asker& asker) const {
  const auto find = [&](const std::string& id) { return responses_.find(asker.owner, id); };
  GALE_ASSIGN(ResponsesRequest request, parse_responses_request(body, context(), find));
  GALE_TRY(check_model(request.chat.answer.model));
  AnswerInfo info = this->info("resp_", asker.request_id, request.chat.answer);
  info.id = "resp_" + fresh_id();   // a client may send one request id twice
  info.include_reasoning = request.chat.include_reasoning;
  auto keep = [this, owner = asker.owner](StoredResponse response) { responses_.put(owner, std::move(response)); };
  auto writer = make_responses_writer(std::move(info), std::move(request.echo), std::move(keep));
  return generation_of(std::move(request.chat), std::move(writer), asker);
}

}  // namespace gale
