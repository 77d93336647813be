#pragma once

#include <memory>

#include "api/answer.h"
#include "api/generation_fields.h"
#include "base/json.h"

namespace gale {

// How the vectors of an answer are written.
struct EmbeddingForm {
  int dimensions = 0;                  // the first so many numbers of each, made to length one again; 0: all
  bool is_base64 = false;              // of little-endian float32, else lists of numbers
};

struct EmbeddingRequest {
  GenerateRequest generate;            // with pooling
  AnswerOptions answer;
  EmbeddingForm form;
};

// The body of POST /v1/embeddings.
[[nodiscard]] Result<EmbeddingRequest> parse_embedding_request(const Json& body, const ApiContext& context);

// The whole answer; vectors have length one.
[[nodiscard]] std::unique_ptr<AnswerWriter> make_embedding_answer(AnswerInfo info, EmbeddingForm form);

}  // namespace gale
