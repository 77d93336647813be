#include "server/openapi_schemas.h"

namespace gale {
namespace {

constexpr std::string_view kAnswerSchemas = R"json({
  "Object": {"type": "object"},
  "Event": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
  "Error": {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["message", "type", "param", "code"], "properties": {
      "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
      "code": {"type": ["string", "null"]}}}}},
  "MessagesError": {"type": "object", "required": ["type", "error"], "properties": {"type": {"const": "error"},
    "request_id": {"type": ["string", "null"]},
    "error": {"type": "object", "required": ["type", "message"], "properties": {"type": {"type": "string"},
    "message": {"type": "string"}}}}},
  "Usage": {"type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens"], "properties": {
    "prompt_tokens": {"type": "integer", "minimum": 0}, "completion_tokens": {"type": "integer", "minimum": 0},
    "total_tokens": {"type": "integer", "minimum": 0},
    "prompt_tokens_details": {"type": "object", "properties": {"cached_tokens": {"type": "integer", "minimum": 0}}},
    "completion_tokens_details": {"type": "object", "properties": {"reasoning_tokens": {"type": "integer",
    "minimum": 0}}}}},
  "FinishReason": {"enum": ["stop", "length", "tool_calls", "content_filter", null]},
  "AssistantMessage": {"type": "object", "required": ["role", "content"], "properties": {
    "role": {"const": "assistant"}, "content": {"type": ["string", "null"]}, "reasoning_content": {"type": "string"},
    "tool_calls": {"type": "array", "items": {"type": "object", "required": ["id", "type", "function"], "properties": {
      "id": {"type": "string"}, "type": {"const": "function"}, "function": {"type": "object", "required": ["name",
      "arguments"], "properties": {
        "name": {"type": "string"}, "arguments": {"type": "string"}}}}}}}},
  "ChatCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
    "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"},
    "model": {"type": "string"},
    "choices": {"type": "array", "items": {"type": "object", "required": ["index", "message", "finish_reason"],
    "properties": {
      "index": {"type": "integer"}, "message": {"$ref": "#/components/schemas/AssistantMessage"},
      "finish_reason": {"$ref": "#/components/schemas/FinishReason"}, "stop_reason": {"type": ["string", "integer",
      "null"]},
      "logprobs": {"type": ["object", "null"]}}}},
    "usage": {"$ref": "#/components/schemas/Usage"}}},
  "ChatCompletionChunk": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
    "id": {"type": "string"}, "object": {"const": "chat.completion.chunk"}, "created": {"type": "integer"},
    "model": {"type": "string"},
    "choices": {"type": "array", "items": {"type": "object", "required": ["index", "delta", "finish_reason"],
    "properties": {
      "index": {"type": "integer"}, "delta": {"type": "object"},
      "finish_reason": {"$ref": "#/components/schemas/FinishReason"}}}},
    "usage": {"oneOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]}}},
  "Completion": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
    "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"},
    "model": {"type": "string"},
    "choices": {"type": "array", "items": {"type": "object", "required": ["index", "text", "finish_reason"],
    "properties": {
      "index": {"type": "integer"}, "text": {"type": "string"},
      "finish_reason": {"$ref": "#/components/schemas/FinishReason"},
      "logprobs": {"type": ["object", "null"]}}}},
    "usage": {"oneOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]}}},
  "EmbeddingList": {"type": "object", "required": ["object", "data", "model", "usage"], "properties": {
    "object": {"const": "list"}, "model": {"type": "string"},
    "data": {"type": "array", "items": {"type": "object", "required": ["object", "index", "embedding"], "properties": {
      "object": {"const": "embedding"}, "index": {"type": "integer"},
      "embedding": {"oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}}}},
    "usage": {"type": "object", "required": ["prompt_tokens", "total_tokens"]}}},
  "Response": {"type": "object", "required": ["id", "object", "created_at", "status", "model", "output", "usage"],
    "properties": {
    "id": {"type": "string"}, "object": {"const": "response"}, "created_at": {"type": "integer"},
    "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]}, "model": {"type": "string"},
    "output": {"type": "array", "items": {"type": "object", "required": ["id", "type", "status"]}},
    "usage": {"type": ["object", "null"]}, "error": {"type": ["object", "null"]}}},
  "Message": {"type": "object", "required": ["id", "type", "role", "model", "content", "stop_reason", "usage"],
    "properties": {
    "id": {"type": "string"}, "type": {"const": "message"}, "role": {"const": "assistant"}, "model": {"type": "string"},
    "content": {"type": "array", "items": {"type": "object", "required": ["type"]}},
    "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use", null]},
    "stop_sequence": {"type": ["string", "null"]},
    "usage": {"type": "object", "required": ["input_tokens", "output_tokens"]}}},
  "TokenCount": {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": {"type": "integer",
    "minimum": 1}}},
  "RenderedPrompt": {"type": "object", "required": ["prompt", "tokens", "count", "max_model_len"], "properties": {
    "prompt": {"type": "string"}, "tokens": {"type": "array", "items": {"type": "integer"}},
    "count": {"type": "integer"},
    "max_model_len": {"type": "integer"}}},
  "RenderedPrompts": {"type": "object", "required": ["prompts"], "properties": {
    "prompts": {"type": "array", "items": {"$ref": "#/components/schemas/RenderedPrompt"}}}},
  "Invocation": {"type": "object"},
  "Tokens": {"type": "object", "required": ["count", "max_model_len", "tokens"], "properties": {
    "count": {"type": "integer"}, "max_model_len": {"type": "integer"}, "tokens": {"type": "array",
    "items": {"type": "integer"}},
    "token_strs": {"type": ["array", "null"], "items": {"type": "string"}}}},
  "Text": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
  "Model": {"type": "object", "required": ["id", "object", "created", "owned_by", "max_model_len"], "properties": {
    "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"},
    "owned_by": {"type": "string"},
    "max_model_len": {"type": "integer"}}},
  "ModelList": {"type": "object", "required": ["object", "data"], "properties": {
    "object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}},
  "Health": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"},
    "reason": {"type": "string"}}}
})json";

}  // namespace

std::string_view answer_schemas() { return kAnswerSchemas; }

}  // namespace gale
