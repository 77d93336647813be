#pragma once

#include <string>

#include "api/request_reader.h"
#include "chat/generation.h"

namespace gale {

// Bounds of what one request may ask for.
struct ApiLimits {
  int max_choices = 128;            // n
  int max_logprobs = 20;            // --max-logprobs
  size_t max_stop_strings = 16;
  size_t max_bad_words = 128;       // as vLLM's
  size_t max_prompts = 1024;        // of one completion request
  size_t max_inputs = 2048;         // of one request for embeddings, as OpenAI's
};

// What api has to know of the model to check a request.
struct ApiContext {
  ApiLimits limits;
  int vocab_size = 0;
  int hidden_size = 0;              // numbers of an embedding; 0: not known yet
  Pooling pooling = Pooling::kLast;
};

// Fields about the form of the answer, the same for chat and completions.
struct AnswerOptions {
  std::string model;                // as asked for; empty: the default
  bool is_stream = false;
  bool include_usage = false;       // stream_options
  bool continuous_usage = false;
  bool return_token_ids = false;
  bool tells_prompt_logprobs = false;
  bool shows_tokens_as_ids = false; // logprobs name tokens as "token_id:5": text need not tell them apart
};

// Sampling, length, stop and stream fields: everything that chat and completions share. logprobs and prompts differ and
// are not here. `least_max_tokens`: the least that max_tokens may be.
void read_generation_fields(RequestReader& reader, const ApiContext& context, GenerateRequest& request,
                            AnswerOptions& answer, int least_max_tokens = 1);

// prompt_logprobs: of whole answers.
void read_prompt_logprobs(RequestReader& reader, const ApiContext& context, GenerateRequest& request,
                          AnswerOptions& answer);

// priority, cache_salt, truncate_prompt_tokens and truncation_side: what becomes of a prompt, whatever is made of it.
void read_prompt_fields(RequestReader& reader, GenerateRequest& request);

// Logs the keys that nobody read (debug level); ends the reading.
[[nodiscard]] Status finish_reading(const RequestReader& reader);

}  // namespace gale
