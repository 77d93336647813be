#include "server/openapi.h"

#include <map>
#include <new>

#include "api/error_table.h"
#include "api/errors.h"
#include "api/field_table.h"
#include "base/check.h"
#include "base/json.h"
#include "server/openapi_schemas.h"
#include "server/routes.h"

namespace gale {
namespace {

Json parsed(std::string_view text) {
  auto json = parse_json(text);
  if (!json && json.error().code == ErrorCode::kOutOfMemory) throw std::bad_alloc();
  CHECK(json.has_value(), "a table holds broken JSON: {}", text.substr(0, 80));
  return std::move(*json);
}

Json schema_ref(std::string_view name) { return {{"$ref", fmt::format("#/components/schemas/{}", name)}}; }

Json body_schema(const BodyDoc& body) {
  Json properties = Json::object();
  for (const auto& group : body.groups) {
    for (const FieldDoc& field : group) {
      Json schema = parsed(field.schema);
      if (!field.text.empty()) schema["description"] = field.text;
      properties.emplace(field.name, std::move(schema));   // the nearer group's word counts
    }
  }
  Json schema{{"type", "object"}, {"properties", std::move(properties)}};
  if (!body.required.empty()) schema["required"] = body.required;
  return schema;
}

Json request_media(std::string_view name) {
  Json media{{"schema", schema_ref(name)}};
  for (const BodyDoc& body : body_docs()) {
    if (body.name != name) continue;
    for (const ExampleDoc& example : body.examples)
      media["examples"][std::string(example.name)] = {{"value", parsed(example.body)}};
  }
  return media;
}

// One response for each status, which tells the codes that it can have.
Json error_responses(std::string_view schema) {
  std::map<int, std::string> texts;
  for (const ErrorDoc& error : error_docs()) {
    std::string& text = texts[error.status];
    text += fmt::format("{}`{}`: {} {}", text.empty() ? "" : "\n\n", error.code, error.cause, error.advice);
  }
  if (schema != "Error") texts[529] = "Too much load: wait for the seconds of Retry-After, then repeat.";
  Json responses = Json::object();
  for (const auto& [status, text] : texts) {
    Json response{{"description", text}, {"content", {{"application/json", {{"schema", schema_ref(schema)}}}}}};
    if (status == 429 || status == 503 || status == 529)
      response["headers"] = {
          {"Retry-After",
           {{"description", "Seconds."}, {"schema", {{"type", "integer"}, {"minimum", 1}, {"maximum", 30}}}}}};
    responses[fmt::format("{}{}", schema, status)] = std::move(response);
  }
  return responses;
}

std::string error_page() {
  std::string text =
      "Errors, those that people look up most first:\n\n| status | code | cause | what to do | Retry-After |\n| --- | "
      "--- | --- | --- | --- |\n";
  for (const ErrorDoc& error : error_docs())
    text += fmt::format("| {} | {} | {} | {} | {} |\n", error.status, error.code, error.cause, error.advice,
                        error.has_retry_after ? "yes" : "no");
  return text;
}

std::vector<int> statuses_of(const Route& route) {
  if (route.doc.tag == "State" && route.is_public) return {503};
  std::vector<int> statuses = {400, 401, 403, 404, 500};
  if (route.path == kChatSocketPath && route.method == "GET") statuses.push_back(426);
  if (route.method != "POST") return statuses;
  for (const int status : {413, 415, 429, 501, 503, 504}) statuses.push_back(status);
  return statuses;
}

Json operation_of(const Route& route, bool asks_for_key) {
  const RouteDoc& doc = route.doc;
  Json operation{{"tags", Json::array({doc.tag})}, {"summary", doc.summary},
                 {"operationId", fmt::format("{} {}", route.method, route.path)}};
  Json parameters = Json::array();
  if (!doc.parameter.empty())
    parameters.push_back(
        {{"name", doc.parameter}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
  if (doc.event == "Event" && doc.request.empty())
    parameters.push_back({{"name", "from"},
                          {"in", "query"},
                          {"schema", {{"type", "integer"}, {"minimum", 0}}},
                          {"description", "The first event that is wanted."}});
  if (!doc.event.empty() && !doc.request.empty())
    parameters.push_back({{"name", "X-Stream-Resumable"},
                          {"in", "header"},
                          {"schema", {{"type", "string"}}},
                          {"description",
                           "true: the stream can be taken up again after a lost connection. "
                           "Anything else: it cannot."}});
  if (!parameters.empty()) operation["parameters"] = std::move(parameters);
  if (!doc.request.empty()) {
    operation["requestBody"] = {{"required", true}, {"content", {{"application/json", request_media(doc.request)}}}};
  }
  Json content = Json::object();
  if (!doc.answer.empty()) content["application/json"] = {{"schema", schema_ref(doc.answer)}};
  if (!doc.event.empty())
    content["text/event-stream"] = {{"schema", {{"description", "Events: `data` is of x-event-schema, or [DONE]."}}},
                                    {"x-event-schema", schema_ref(doc.event)}};
  if (is_docs(route) && content.empty()) {
    const bool is_page = doc.parameter.empty();
    for (const char* type : {"text/html", "text/css", "text/javascript"})
      if (is_page == (std::string_view(type) == "text/html")) content[type] = {{"schema", {{"type", "string"}}}};
  }
  if (content.empty()) content["text/plain"] = {{"schema", {{"type", "string"}}}};
  operation["responses"]["200"] = {{"description", "The answer."}, {"content", std::move(content)}};
  const bool is_anthropic = error_dialect_of(route.path) == ErrorDialect::kAnthropic;
  const std::string_view schema = is_anthropic ? "MessagesError" : "Error";
  for (const int status : statuses_of(route)) {
    if (doc.answer == "Health" && status == 503) {
      operation["responses"]["503"] = {{"description", "No, and why."},
                                       {"content", {{"application/json", {{"schema", schema_ref("Health")}}}}}};
      continue;
    }
    operation["responses"][fmt::format("{}", status)] = {
        {"$ref", fmt::format("#/components/responses/{}{}", schema, status)}};
  }
  if (is_anthropic) operation["responses"]["529"] = {{"$ref", "#/components/responses/MessagesError529"}};
  if (asks_for_key && !route.is_public)
    operation["security"] = Json::array({{{"bearer", Json::array()}}, {{"header", Json::array()}}});
  return operation;
}

std::string template_of(const Route& route) {
  std::string path(route.path);
  if (path.ends_with('*')) path.replace(path.size() - 1, 1, fmt::format("{{{}}}", route.doc.parameter));
  return path;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c | 0x20);
  return out;
}

}  // namespace

std::string openapi_document(const std::string& version, bool asks_for_key) {
  Json document{{"openapi", "3.1.0"},
                {"info",
                 {{"title", "gale"},
                  {"version", version},
                  {"summary", "GLM models behind the APIs of OpenAI and Anthropic."},
                  {"description", error_page()},
                  {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
                {"servers", Json::array({{{"url", "/"}}})}};
  Json& paths = document["paths"];
  for (const Route& route : all_routes())
    paths[template_of(route)][lower(route.method)] = operation_of(route, asks_for_key);
  Json schemas = parsed(answer_schemas());
  for (const BodyDoc& body : body_docs()) schemas[std::string(body.name)] = body_schema(body);
  Json responses = error_responses("Error");
  responses.update(error_responses("MessagesError"));
  document["components"] = {{"schemas", std::move(schemas)}, {"responses", std::move(responses)}};
  if (asks_for_key) {
    document["components"]["securitySchemes"] = {
        {"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
        {"header", {{"type", "apiKey"}, {"in", "header"}, {"name", "X-Api-Key"}}}};
  }
  return dump_json(document);
}

}  // namespace gale
