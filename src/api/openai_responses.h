#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/answer.h"
#include "api/openai_chat.h"

namespace gale {

// What of a request its response repeats, and what a later one needs to go on from it.
struct ResponsesEcho {
  Json fields;                     // of the response object: instructions, tools, temperature, metadata, …
  Json input = Json::array();      // the conversation so far as input items, earlier responses included
  bool is_stored = true;
};

struct ResponsesRequest {
  ChatRequest chat;
  ResponsesEcho echo;
};

// A response that an earlier request left behind.
struct StoredResponse {
  Json response;                   // as it was answered
  Json items = Json::array();      // input and output of the whole conversation
  size_t num_input_items = 0;      // of them: what led to this response
};

// Finds the response that previous_response_id names; kNotFound with that param.
using FindResponse = std::function<Result<StoredResponse>(const std::string& id)>;

// The body of POST /v1/responses. Items become the messages of a chat, `text.format` its response_format; tools whose
// type nobody here could run are skipped. What a chat cannot hold is refused by name.
[[nodiscard]] Result<ResponsesRequest> parse_responses_request(const Json& body, const ApiContext& context,
                                                               const FindResponse& find);

// Called with the response when it is complete (or cut short), before the client has all of it.
using KeepResponse = std::function<void(StoredResponse)>;
[[nodiscard]] std::unique_ptr<AnswerWriter> make_responses_writer(AnswerInfo info, ResponsesEcho echo,
                                                                  KeepResponse keep);

}  // namespace gale
