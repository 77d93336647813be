#include "api/error_table.h"

namespace gale {
namespace {

// 429 and 503 first: those are what people look up.
constexpr ErrorDoc kErrors[] = {
    {429, "overloaded", "The queue, the tokens under way or what one key may have is full.",
     "Wait for the seconds of Retry-After, then repeat. OpenAI's and Anthropic's SDKs do so by themselves. "
     "/v1/messages says 529.",
     true},
    {503, "unavailable", "The model is loading, the server is leaving, or there is no engine.",
     "Wait for the seconds of Retry-After, or ask another server. /ready says when it is over.", true},
    {400, "invalid_json", "The body is no JSON object.", "Mend the body: the message says where it breaks."},
    {400, "invalid_value", "A field has a value that it cannot have.",
     "`param` names the field, the message what was expected."},
    {400, "context_length_exceeded", "Prompt and answer do not fit the model's context.",
     "Shorten the prompt or lower max_tokens: the message has both numbers."},
    {400, "not_supported", "The request asks for something that this server cannot do.",
     "`param` names the field: leave it out."},
    {400, "invalid_http", "The request breaks HTTP.", "Mend the client or the proxy between."},
    {401, "invalid_api_key", "No key, or one that is not known here.",
     "Send `Authorization: Bearer KEY` or `X-Api-Key: KEY`."},
    {403, "forbidden", "The key, the address or the origin may not do this.", "The message says what opens it."},
    {404, "model_not_found", "No model is served under this name.", "Use a name of /v1/models."},
    {404, "not_found", "What the path names is not there (any more).", "Begin anew."},
    {404, "route_not_found", "There is no such path.", "See /docs."},
    {405, "method_not_allowed", "The path takes other methods.", "`Allow` lists them."},
    {408, "request_timeout", "The request did not arrive in time.", "Send it faster, or again."},
    {413, "body_too_large", "The body is over --max-request-bytes.", "Send less."},
    {414, "uri_too_long", "The request line is too long.", "Put the data into a body."},
    {415, "unsupported_media_type", "The body is not declared as JSON.", "Send `Content-Type: application/json`."},
    {426, "upgrade_required", "GET on a WebSocket's path.", "Ask for an upgrade, or POST."},
    {431, "headers_too_large", "Too many or too large header fields.", "Send fewer."},
    {499, "cancelled", "The client left: only in log and metrics.", "Nothing."},
    {500, "internal_error", "The server failed.", "Repeat once; the log has the cause under the request id."},
    {501, "not_supported", "This model has no such endpoint.", "Use another one."},
    {504, "deadline_exceeded", "The request's deadline passed.", "Ask for less, or allow more time."},
};

}  // namespace

std::span<const ErrorDoc> error_docs() { return kErrors; }

}  // namespace gale
