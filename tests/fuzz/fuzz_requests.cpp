// The JSON bodies of the endpoints.
#include "api/anthropic_messages.h"
#include "api/model_info.h"
#include "api/openai_chat.h"
#include "api/openai_completions.h"
#include "api/openai_embeddings.h"
#include "api/openai_responses.h"
#include "base/json.h"
#include "base/utf8.h"
#include "fuzz_targets.h"

namespace gale {
namespace {

constexpr ApiContext kContext{.limits = {}, .vocab_size = 8192};

template <class T>
void check_result(const Result<T>& result) {
  if (result) return;
  fuzz_check_message(result.error().message);
  fuzz_check(is_valid_utf8(result.error().message), "an error is UTF-8");
}

void check_generation(const GenerateRequest& request) {
  fuzz_check(request.sampling.top_k.value_or(0) >= 0, "top_k is not negative behind the parser");
  for (const std::string& stop : request.stop) fuzz_check(!stop.empty(), "no stop string is empty");
  for (const auto& [token, bias] : request.logit_bias) {
    fuzz_check(token >= 0 && token < kContext.vocab_size, "a bias names a token");
    fuzz_check(bias >= -100 && bias <= 100, "a bias is clamped");
  }
}

template <class Parse>
void with_body(std::string_view input, Parse parse) {
  const Result<Json> body = parse_json(input);
  check_result(body);
  if (body) parse(*body);
}

}  // namespace

void fuzz_json(std::string_view input) {
  with_body(input, [](const Json& value) {
    const std::string text = dump_json(value);
    const Result<Json> again = parse_json(text);
    fuzz_check(again.has_value(), "what was written can be read: " + text);
    fuzz_check(dump_json(*again) == text, "writing again makes the same text");
  });
}

void fuzz_chat_request(std::string_view input) {
  with_body(input, [](const Json& body) {
    const Result<ChatRequest> request = parse_chat_request(body, kContext);
    check_result(request);
    if (request) check_generation(request->generate);
  });
}

void fuzz_completion_request(std::string_view input) {
  with_body(input, [](const Json& body) {
    const Result<CompletionRequest> request = parse_completion_request(body, kContext);
    check_result(request);
    if (!request) return;
    fuzz_check(!request->generate.empty(), "a request has a prompt");
    for (const GenerateRequest& generate : request->generate) check_generation(generate);
  });
}

void fuzz_embedding_request(std::string_view input) {
  with_body(input, [](const Json& body) {
    const Result<EmbeddingRequest> request = parse_embedding_request(body, kContext);
    check_result(request);
    if (!request) return;
    const std::optional<PoolingRequest>& pooling = request->generate.pooling;
    fuzz_check(pooling && !pooling->inputs.empty(), "a request has an input");
    fuzz_check(pooling->inputs.size() <= kContext.limits.max_inputs, "a list is bounded");
    const std::unique_ptr<AnswerWriter> writer = make_embedding_answer({.model = "m"}, request->form);
    for (int i = 0; i < static_cast<int>(pooling->inputs.size()); ++i)
      (void)writer->add(0, Pooled{i, {3.0F, 0.0F, 4.0F}});
    (void)writer->add(0, Completed{});
    fuzz_check(parse_json(writer->body()).has_value(), "an answer is JSON");
  });
}

void fuzz_messages_request(std::string_view input) {
  with_body(input, [](const Json& body) {
    const Result<ChatRequest> request = parse_messages_request(body, kContext, {});
    check_result(request);
    if (request) check_generation(request->generate);
    check_result(parse_count_tokens_request(body, {}));
  });
}

void fuzz_responses_request(std::string_view input) {
  with_body(input, [](const Json& body) {
    const FindResponse find = [](const std::string& id) -> Result<StoredResponse> {
      if (id != "resp_1") return fail_param(ErrorCode::kNotFound, "previous_response_id", "no response {}", id);
      StoredResponse stored;
      stored.items = Json::array({{{"type", "message"}, {"role", "user"}, {"content", "hi"}}});
      return stored;
    };
    const Result<ResponsesRequest> request = parse_responses_request(body, kContext, find);
    check_result(request);
    if (request) check_generation(request->chat.generate);
  });
}

void fuzz_tokenize_request(std::string_view input) {
  with_body(input, [](const Json& body) {
    check_result(parse_tokenize_request(body));
    const Result<DetokenizeRequest> request = parse_detokenize_request(body, kContext);
    check_result(request);
    if (!request) return;
    for (const TokenId token : request->tokens) fuzz_check(token >= 0 && token < kContext.vocab_size, "a token exists");
  });
}

}  // namespace gale
