#include "server/routes.h"

#include "server/guide.h"

namespace gale {
namespace {

constexpr std::string_view kGeneration = "Generation", kStored = "Stored responses and streams",
                           kModels = "Models and tokens", kState = "State", kNone = "Not of this model";

constexpr Route kRoutes[] = {
    {"POST",
     "/v1/chat/completions",
     &Endpoints::chat_completions,
     {kGeneration, "Answer a chat.", "ChatCompletionRequest", "ChatCompletion", "ChatCompletionChunk"}},
    {"GET",
     kChatSocketPath,
     &Endpoints::needs_web_socket,
     {kGeneration, "Chats over a WebSocket: needs an upgrade, see docs/api.md."}},
    {"POST",
     "/v1/chat/completions/render",
     &Endpoints::render_chat,
     {kModels, "The prompt that a chat becomes: text and token ids.", "ChatCompletionRequest", "RenderedPrompt"}},
    {"POST",
     "/v1/completions",
     &Endpoints::completions,
     {kGeneration, "Go on with a text.", "CompletionRequest", "Completion", "Completion"}},
    {"POST",
     "/v1/completions/render",
     &Endpoints::render_completion,
     {kModels, "The prompts of a completion: text and token ids.", "CompletionRequest", "RenderedPrompts"}},
    {"POST",
     "/v1/embeddings",
     &Endpoints::embeddings,
     {kGeneration, "Vectors of texts: the model's final hidden states, pooled.", "EmbeddingRequest", "EmbeddingList"}},
    {"POST",
     "/v1/responses",
     &Endpoints::responses,
     {kGeneration, "Answer in OpenAI's Responses.", "ResponsesRequest", "Response", "Event"}},
    {"POST",
     "/v1/messages",
     &Endpoints::messages,
     {kGeneration, "Answer in Anthropic's Messages.", "MessagesRequest", "Message", "Event"}},
    {"POST",
     "/v1/messages/count_tokens",
     &Endpoints::count_message_tokens,
     {kModels, "How many tokens a message would have.", "CountTokensRequest", "TokenCount"}},
    {"POST",
     "/invocations",
     &Endpoints::invocations,
     {kGeneration, "A chat or a completion, by what the body holds.", "Invocation", "Object", "Object"}},
    {"GET",
     "/v1/responses/*",
     &Endpoints::show_response,
     {kStored, "A response that was kept; /input_items: what led to it.", "", "Object", "", "response_id"}},
    {"DELETE",
     "/v1/responses/*",
     &Endpoints::delete_response,
     {kStored, "Forget a response.", "", "Object", "", "response_id"}},
    {"POST",
     "/v1/responses/*",
     &Endpoints::cancel_response,
     {kStored, "Refused: nothing runs in the background.", "", "Object", "", "response_id"}},
    {"GET",
     "/v1/streams/*",
     &Endpoints::resume_stream,
     {kStored, "Go on with a resumable stream, from event ?from=N.", "", "", "Event", "stream_id"}},
    {"DELETE",
     "/v1/streams/*",
     &Endpoints::cancel_stream,
     {kStored, "End a resumable stream.", "", "Object", "", "stream_id"}},
    {"GET", "/v1/models", &Endpoints::list_models, {kModels, "What is served.", "", "ModelList"}},
    {"GET", "/v1/models/*", &Endpoints::show_model, {kModels, "One of them.", "", "Model", "", "model"}},
    {"POST",
     "/tokenize",
     &Endpoints::tokenize,
     {kModels, "A text or a chat as token ids.", "TokenizeRequest", "Tokens"}},
    {"POST", "/v1/tokenize", &Endpoints::tokenize, {kModels, "The same.", "TokenizeRequest", "Tokens"}},
    {"POST", "/detokenize", &Endpoints::detokenize, {kModels, "Token ids as text.", "DetokenizeRequest", "Text"}},
    {"POST", "/v1/detokenize", &Endpoints::detokenize, {kModels, "The same.", "DetokenizeRequest", "Text"}},
    {"GET", "/health", &Endpoints::health, {kState, "Whether the engine makes progress.", "", "Health"}, true},
    {"GET", "/live", &Endpoints::live, {kState, "Whether the process turns.", "", "Health"}, true},
    {"GET", "/livez", &Endpoints::live, {kState, "The same.", "", "Health"}, true},
    {"GET", "/ready", &Endpoints::ready, {kState, "Whether a request would be served.", "", "Health"}, true},
    {"GET", "/readyz", &Endpoints::ready, {kState, "The same.", "", "Health"}, true},
    {"GET", "/ping", &Endpoints::health, {kState, "As /health.", "", "Health"}},
    {"POST", "/ping", &Endpoints::health, {kState, "As /health.", "", "Health"}},
    {"GET", "/version", &Endpoints::version, {kState, "The version.", "", "Object"}},
    {"GET", "/load", &Endpoints::load, {kState, "How many requests are being answered.", "", "Object"}},
    {"GET", "/server_info", &Endpoints::server_info, {kState, "Model, engine and limits.", "", "Object"}},
    {"GET", "/metrics", &Endpoints::metrics, {kState, "Metrics in Prometheus' format."}},
    {"GET", "/openapi.json", &Endpoints::openapi, {kState, "This description.", "", "Object"}},
    {"GET", "/docs", &Endpoints::docs, {kState, "This description as a page, to read and to try."}},
    {"GET", kGuidePath, &Endpoints::guide, {kState, "The guide: how to use and run this server, as web pages."}},
    {"GET", "/docs/guide/*", &Endpoints::guide, {kState, "A page of it, or a picture.", "", "", "", "page"}},
    {"GET", "/docs/*", &Endpoints::docs, {kState, "Files of that page.", "", "", "", "file"}},
    {"GET", "/", &Endpoints::root, {kState, "Where to go from here.", "", "Object"}},
    {"POST", "/pooling", &Endpoints::unsupported, {kNone, "501.", "", "Object"}},
    {"POST", "/classify", &Endpoints::unsupported, {kNone, "501.", "", "Object"}},
    {"POST", "/score", &Endpoints::unsupported, {kNone, "501.", "", "Object"}},
    {"POST", "/v1/score", &Endpoints::unsupported, {kNone, "501.", "", "Object"}},
    {"POST", "/rerank", &Endpoints::unsupported, {kNone, "501.", "", "Object"}},
    {"POST", "/v1/rerank", &Endpoints::unsupported, {kNone, "501.", "", "Object"}},
};

bool matches(const Route& route, std::string_view path) {
  if (!route.path.ends_with("/*")) return route.path == path;
  const std::string_view prefix = route.path.substr(0, route.path.size() - 1);
  return path.starts_with(prefix) && path.size() > prefix.size();
}

}  // namespace

std::span<const Route> all_routes() { return kRoutes; }

bool is_docs(const Route& route) { return route.path == "/openapi.json" || route.path.starts_with("/docs"); }

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  std::string_view pattern;   // the first that matches: /docs/guide/* stands before /docs/*
  for (const Route& route : kRoutes) {
    if (!matches(route, path) || (!pattern.empty() && route.path != pattern)) continue;
    pattern = route.path;
    const bool takes_method = route.method == method || (route.method == "GET" && method == "HEAD");
    if (takes_method) match.route = &route;
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += route.method == "GET" ? "GET, HEAD" : route.method;
  }
  return match;
}

}  // namespace gale
