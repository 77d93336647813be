#include "server/endpoints.h"

#include "api/anthropic_messages.h"
#include "api/model_info.h"
#include "api/openai_chat.h"
#include "api/openai_completions.h"
#include "api/protocol_errors.h"
#include "server/access.h"
#include "server/web_socket_chat.h"

namespace gale {
namespace {

Result<Json> json_object_of(const Call& call) {
  GALE_ASSIGN(Json body, parse_json(call.request().body));
  if (!body.is_object()) return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object");
  return body;
}

std::vector<ModelCard> cards_of(const Pipeline& pipeline, Pooling pooling) {
  const ServedModel& model = pipeline.model();
  const int length = context_length(pipeline);
  const std::optional<Ready> engine = pipeline.status().engine;
  ModelCard card{.name = model.name,
                 .created = model.created,
                 .max_model_len = length,
                 .embedding_size = engine ? engine->hidden_size : 0,
                 .pooling = pooling};
  std::vector<ModelCard> cards = {card};
  for (const std::string& alias : model.aliases) {
    card.name = alias;
    cards.push_back(card);
  }
  return cards;
}

}  // namespace

// ---- models and tokens
// ------------------------------------------------------------------------------------------------

void Endpoints::list_models(Call& call) {
  const std::vector<ModelCard> cards = cards_of(pipeline_, config_.pooling);
  call.reply(200, dump_json(model_list_json(cards)));
}

void Endpoints::show_model(Call& call) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name = call.request().head.path.substr(kPrefix.size());
  for (const ModelCard& card : cards_of(pipeline_, config_.pooling)) {
    if (card.name == name) return call.reply(200, dump_json(model_json(card)));
  }
  reply_error(call, formats_.check_model(name).error());
}

void Endpoints::tokenize(Call& call) {
  reply_json(call, [&]() -> Result<Json> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const TokenizeRequest request, parse_tokenize_request(body));
    GALE_TRY(formats_.check_model(request.model));
    GALE_ASSIGN(const std::vector<TokenId> tokens, pipeline_.tokenize(request.prompt));
    std::vector<std::string> texts;
    if (request.return_token_strs) {
      for (const TokenId token : tokens) texts.push_back(pipeline_.token_text(token));
    }
    return tokenize_json(tokens, context_length(pipeline_), request.return_token_strs ? &texts : nullptr);
  }());
}

void Endpoints::detokenize(Call& call) {
  reply_json(call, [&]() -> Result<Json> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const DetokenizeRequest request, parse_detokenize_request(body, formats_.context()));
    GALE_TRY(formats_.check_model(request.model));
    GALE_ASSIGN(std::string text, pipeline_.detokenize(request.tokens));
    return Json{{"prompt", std::move(text)}};
  }());
}

Result<Json> Endpoints::rendered(const PromptInput& prompt) const {
  GALE_ASSIGN(const std::vector<TokenId> tokens, pipeline_.tokenize(prompt));
  GALE_ASSIGN(std::string text, pipeline_.detokenize(tokens));
  Json out{{"prompt", std::move(text)}};
  out.update(tokenize_json(tokens, context_length(pipeline_), nullptr));
  return out;
}

void Endpoints::render_chat(Call& call) {
  reply_json(call, [&]() -> Result<Json> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const ChatRequest request, parse_chat_request(body, formats_.context()));
    GALE_TRY(formats_.check_model(request.answer.model));
    return rendered(request.generate.prompt);
  }());
}

void Endpoints::render_completion(Call& call) {
  reply_json(call, [&]() -> Result<Json> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const CompletionRequest request, parse_completion_request(body, formats_.context()));
    GALE_TRY(formats_.check_model(request.answer.model));
    Json prompts = Json::array();
    for (const GenerateRequest& generate : request.generate) {
      GALE_ASSIGN(Json prompt, rendered(generate.prompt));
      prompts.push_back(std::move(prompt));
    }
    return Json{{"prompts", std::move(prompts)}};
  }());
}

void Endpoints::count_message_tokens(Call& call) {
  reply_json(call, [&]() -> Result<Json> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    GALE_ASSIGN(const CountTokensRequest request, parse_count_tokens_request(body, formats_.messages_options()));
    GALE_TRY(formats_.check_model(request.model));
    GALE_ASSIGN(const std::vector<TokenId> tokens, pipeline_.tokenize(request.prompt));
    return Json{{"input_tokens", tokens.size()}};
  }());
}

void Endpoints::reply_json(Call& call, const Result<Json>& body) {
  if (!body) return reply_error(call, body.error());
  call.reply(200, dump_json(*body));
}

// ---- stored responses
// ---------------------------------------------------------------------------------------------------

namespace {

constexpr std::string_view kResponses = "/v1/responses/";
constexpr std::string_view kInputItems = "/input_items";

}  // namespace

void Endpoints::show_response(Call& call) {
  std::string id = call.request().head.path.substr(kResponses.size());
  const bool wants_input = id.ends_with(kInputItems);
  if (wants_input) id.resize(id.size() - kInputItems.size());
  reply_json(call, [&]() -> Result<Json> {
    GALE_ASSIGN(StoredResponse stored, responses_.find(owner_of(call.request().head), id));
    if (!wants_input) return std::move(stored.response);
    Json data(Json::array());
    for (size_t i = 0; i < stored.num_input_items; ++i) data.push_back(stored.items[i]);
    return Json{{"object", "list"}, {"data", std::move(data)}, {"has_more", false}};
  }());
}

void Endpoints::delete_response(Call& call) {
  const std::string id = call.request().head.path.substr(kResponses.size());
  reply_json(call, [&]() -> Result<Json> {
    GALE_TRY(responses_.erase(owner_of(call.request().head), id));
    return Json{{"id", id}, {"object", "response"}, {"deleted", true}};
  }());
}

void Endpoints::cancel_response(Call& call) {
  reply_error(call, {ErrorCode::kInvalidArgument,
                     "only responses that are computed in the background can be cancelled; to stop a stream close it",
                     "response_id"});
}

// ---- generation
// -------------------------------------------------------------------------------------------------------

void Endpoints::chat_completions(Call& call) { generate(call, &WireFormats::chat); }

void Endpoints::completions(Call& call) { generate(call, &WireFormats::completion); }

void Endpoints::embeddings(Call& call) { generate(call, &WireFormats::embeddings); }

void Endpoints::messages(Call& call) { generate(call, &WireFormats::messages); }

void Endpoints::responses(Call& call) { generate(call, &WireFormats::responses); }

// SageMaker's one address for everything.
void Endpoints::invocations(Call& call) {
  const Result<Json> body = json_object_of(call);
  const bool is_completion = body && body->contains("prompt") && !body->contains("messages");
  generate(call, is_completion ? &WireFormats::completion : &WireFormats::chat);
}

void Endpoints::generate(Call& call, Prepare prepare) {
  const RequestHead& head = call.request().head;
  const std::string owner = owner_of(head);
  const std::shared_ptr<Call> shared = call.shared_from_this();
  if (const auto last =
          head.field("last-event-id")) {  // an event source that repeats its request after a lost connection
    const auto event = StreamArchive::parse_event_id(*last);
    if (!event)
      return reply_error(call, {ErrorCode::kInvalidArgument, "Last-Event-ID: expected the id of an event of a stream",
                                "Last-Event-ID"});
    const Status resumed = streams_.resume(shared, owner, event->stream, event->number + 1);
    return resumed ? void() : reply_error(call, resumed.error());
  }
  Result<Generation> generation = [&]() -> Result<Generation> {
    GALE_ASSIGN(const Json body, json_object_of(call));
    return (formats_.*prepare)(body, {.request_id = call.request_id(), .owner = owner});
  }();
  if (!generation) return reply_error(call, generation.error());
  if (!generation->is_stream || !StreamArchive::is_wanted(head))
    return generations_.start(shared, std::move(*generation));
  const Result<std::shared_ptr<AnswerOutlet>> outlet = streams_.open(shared, owner);
  if (!outlet) return reply_error(call, outlet.error());
  generations_.start(*outlet, std::move(*generation));
}

// ---- streams that go on, sockets
// --------------------------------------------------------------------------------------

namespace {

constexpr std::string_view kStreams = "/v1/streams/";

}  // namespace

void Endpoints::resume_stream(Call& call) {
  const RequestHead& head = call.request().head;
  constexpr std::string_view kFrom = "from=";
  uint64_t from = 0;
  if (!head.query.empty()) {
    const auto event =
        StreamArchive::parse_event_id("x:" + (head.query.starts_with(kFrom) ? head.query.substr(kFrom.size()) : ""));
    if (!event)
      return reply_error(call, {ErrorCode::kInvalidArgument, "from: expected the number of an event", "from"});
    from = event->number;
  }
  const Status resumed =
      streams_.resume(call.shared_from_this(), owner_of(head), head.path.substr(kStreams.size()), from);
  if (!resumed) reply_error(call, resumed.error());
}

void Endpoints::cancel_stream(Call& call) {
  const std::string id = call.request().head.path.substr(kStreams.size());
  reply_json(call, [&]() -> Result<Json> {
    GALE_TRY(streams_.cancel(owner_of(call.request().head), id));
    return Json{{"id", id}, {"object", "stream"}, {"cancelled", true}};
  }());
}

void Endpoints::needs_web_socket(Call& call) {
  call.reply(426, protocol_error_body(426, "GET on this route opens a WebSocket: ask for an upgrade, or POST a chat"),
             "application/json", {{"Upgrade", "websocket"}});
}

std::shared_ptr<WebSocketListener> Endpoints::open_chat_socket(const RequestHead& head,
                                                               std::shared_ptr<WebSocket> socket) {
  return std::make_shared<WebSocketChat>(
      std::move(socket), WebSocketChat::Asking{.owner = owner_of(head), .is_logged = config_.logs_access}, formats_,
      generations_, pipeline_);
}

}  // namespace gale
