#include "api/generation_fields.h"

#include <cstdint>

#include "api/answer_format.h"
#include "base/log.h"

namespace gale {
namespace {

constexpr double kMaxInt = INT32_MAX;

void read_sampling(RequestReader& reader, SamplingOverrides& sampling) {
  reader.number("temperature", {0, 2}, sampling.temperature);
  reader.number("top_p", {0, 1, true}, sampling.top_p);
  reader.number("min_p", {0, 1}, sampling.min_p);
  reader.number("repetition_penalty", {0, 100, true}, sampling.repetition_penalty);
  reader.number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  reader.number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  reader.integer("top_k", {-1, kMaxInt}, sampling.top_k);
  if (sampling.top_k == -1) sampling.top_k = 0;   // both mean: all tokens
  reader.seed("seed", sampling.seed);
}

// How many tokens, under the names of several servers; the one that is read last counts.
void read_length(RequestReader& reader, int least_max_tokens, GenerateRequest& request) {
  std::optional<int> n_predict;   // llama.cpp's; -1: what is left of the context
  reader.integer("n_predict", {-1, kMaxInt}, n_predict);
  if (n_predict && *n_predict > 0) request.max_tokens = n_predict;
  reader.integer("max_tokens", {static_cast<double>(least_max_tokens), kMaxInt}, request.max_tokens);
  reader.integer("min_tokens", {0, kMaxInt}, request.min_tokens);
  if (request.max_tokens && request.min_tokens > *request.max_tokens)
    reader.refuse(
        "min_tokens", ErrorCode::kInvalidArgument,
        fmt::format("min_tokens is {}, which is more than max_tokens, {}", request.min_tokens, *request.max_tokens));
}

void read_stream_options(RequestReader& reader, AnswerOptions& answer) {
  reader.boolean("stream", answer.is_stream);
  const Json* options = reader.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object())
    return reader.refuse("stream_options", ErrorCode::kInvalidArgument, "stream_options must be an object");
  if (!answer.is_stream)
    return reader.refuse("stream_options", ErrorCode::kInvalidArgument,
                         "stream_options is only allowed when stream is true");
  RequestReader inner(*options);
  inner.boolean("include_usage", answer.include_usage);
  inner.boolean("continuous_usage_stats", answer.continuous_usage);
  if (const Status status = inner.status(); !status)
    reader.refuse("stream_options", status.error().code, "stream_options." + status.error().message);
}

void read_truncation(RequestReader& reader, GenerateRequest& request) {
  reader.integer("truncate_prompt_tokens", {-1, kMaxInt}, request.truncate_prompt_tokens);
  if (request.truncate_prompt_tokens == 0)
    reader.refuse("truncate_prompt_tokens", ErrorCode::kInvalidArgument,
                  "truncate_prompt_tokens: expected -1 or at least 1, got 0");
  std::string side = "left";
  reader.string("truncation_side", side);
  if (side != "left" && side != "right")
    reader.refuse("truncation_side", ErrorCode::kInvalidArgument,
                  fmt::format("truncation_side: expected left or right, got {}", brief(Json(side))));
  request.truncates_end = side == "right";
}

// Parts that change the answer and that this build cannot serve: refused by name, never dropped.
void refuse_unsupported(RequestReader& reader) {
  const std::vector<Json> off = {Json(false)};
  reader.refuse_unless("use_beam_search", off, "beam search is not supported");
  reader.refuse_unless("prompt_embeds", {}, "prompt embeddings are not supported");
  reader.refuse_unless("stop_regex", {}, "not supported by this build yet");
  for (const char* key : {"return_prompt_text", "return_token_offsets"})
    reader.refuse_unless(key, off, "not supported by this build; return_token_ids tells the tokens");
  for (const char* key : {"logits_processors", "custom_logit_processor", "repetition_detection",
                          "vllm_xargs", "logprob_token_ids"})
    reader.refuse_unless(key, {Json::array(), Json::object(), Json(-1)}, "not supported by this build yet");
}

// Fields that official SDKs send and that mean nothing here.
void ignore_harmless(RequestReader& reader) {
  for (const char* key : {"user",
                          "metadata",
                          "store",
                          "service_tier",
                          "safety_identifier",
                          "prompt_cache_key",
                          "session_id",
                          "prompt_cache_retention",
                          "verbosity",
                          "prediction",
                          "modalities",
                          "web_search_options",
                          "moderation",
                          "stream_interval",
                          "rid",
                          "extra_key",
                          "request_id",
                          "cache_prompt",
                          "spaces_between_special_tokens",
                          "length_penalty",
                          "kv_transfer_params",
                          "detail"})
    (void)reader.find(key);
}

}  // namespace

void read_prompt_logprobs(RequestReader& reader, const ApiContext& context, GenerateRequest& request,
                          AnswerOptions& answer) {
  std::optional<int> num_best;
  reader.integer("prompt_logprobs", {0, static_cast<double>(context.limits.max_logprobs)}, num_best);
  if (!num_best) return;
  if (answer.is_stream && *num_best > 0)
    return reader.refuse("prompt_logprobs", ErrorCode::kInvalidArgument,
                         "prompt_logprobs is not available with stream");
  if (answer.is_stream) return;
  request.num_prompt_logprobs = *num_best;
  answer.tells_prompt_logprobs = true;
}

void read_prompt_fields(RequestReader& reader, GenerateRequest& request) {
  reader.integer("priority", {-kMaxInt, kMaxInt}, request.priority);
  if (const Json* salt = reader.find("cache_salt");
      salt != nullptr && salt->is_string() && salt->get_ref<const std::string&>().empty())
    reader.refuse("cache_salt", ErrorCode::kInvalidArgument, "cache_salt must not be empty");
  reader.string("cache_salt", request.cache_salt);
  read_truncation(reader, request);
}

void read_generation_fields(RequestReader& reader, const ApiContext& context, GenerateRequest& request,
                            AnswerOptions& answer, int least_max_tokens) {
  reader.string("model", answer.model);
  read_sampling(reader, request.sampling);
  reader.integer("n", {1, static_cast<double>(context.limits.max_choices)}, request.n);
  read_length(reader, least_max_tokens, request);
  reader.strings("stop", context.limits.max_stop_strings, request.stop);
  reader.token_ids("stop_token_ids", context.vocab_size, request.stop_token_ids);
  reader.logit_bias("logit_bias", context.vocab_size, request.logit_bias);
  if (const Json* allowed = reader.find("allowed_token_ids");
      allowed != nullptr && allowed->is_array() && allowed->empty())
    reader.refuse("allowed_token_ids", ErrorCode::kInvalidArgument, "allowed_token_ids must not be empty");
  reader.token_ids("allowed_token_ids", context.vocab_size, request.allowed_token_ids);
  reader.strings("bad_words", context.limits.max_bad_words, request.bad_words);
  reader.boolean("no_stop_trim", request.include_stop_str_in_output);   // SGLang's name
  reader.boolean("include_stop_str_in_output", request.include_stop_str_in_output);
  reader.boolean("ignore_eos", request.ignore_eos);
  reader.boolean("skip_special_tokens", request.skip_special_tokens);
  read_prompt_fields(reader, request);
  reader.boolean("return_token_ids", answer.return_token_ids);
  reader.boolean("return_tokens_as_token_ids", answer.shows_tokens_as_ids);
  read_stream_options(reader, answer);
  read_answer_format(reader, request.rules);
  refuse_unsupported(reader);
  ignore_harmless(reader);
}

Status finish_reading(const RequestReader& reader) {
  GALE_TRY(reader.status());
  for (const std::string& key : reader.unread_keys())
    log_debug("unknown request field \"{}\" is ignored", key.substr(0, 60));
  return {};
}

}  // namespace gale
