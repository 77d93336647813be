#include "serving/prompt.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

// What a token has in bytes, on average, at least: most text has about four.
constexpr int64_t kBytesPerToken = 3;
// Below it logits divided by the temperature leave the range of numbers; what is meant is the likeliest token.
constexpr float kMinTemperature = 0.01F;
constexpr size_t kMaxBadWordTokens = 1024;   // of a request, as vLLM's

int64_t text_bytes(const Json& json) {
  if (json.is_string()) return static_cast<int64_t>(json.get_ref<const std::string&>().size());
  int64_t total = 0;
  if (json.is_structured()) {
    for (const Json& child : json) total += text_bytes(child);
  }
  return total;
}

Status check_ids(const std::vector<TokenId>& ids, int vocab_size, const char* param) {
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocab_size) {
      return fail_param(ErrorCode::kInvalidArgument, param, "token id {} is outside of the vocabulary (0 to {})", id,
                        vocab_size - 1);
    }
  }
  return {};
}

Result<std::vector<TokenId>> encode_chat(const ChatInput& chat, const Tokenizer& tokenizer,
                                         const ChatTemplate* chat_template) {
  if (chat_template == nullptr) {
    return fail_param(ErrorCode::kInvalidArgument, "messages",
                      "this model has no chat template: use /v1/completions with a prompt");
  }
  GALE_ASSIGN(std::vector<PromptSegment> segments, chat_template->render(chat));
  std::vector<TextSegment> texts;
  texts.reserve(segments.size());
  for (PromptSegment& segment : segments) {
    texts.push_back({std::move(segment.text), segment.is_template_text ? AddedTokens::kMatch : AddedTokens::kPlain});
  }
  return tokenizer.encode(texts);
}

Result<int> choose_max_tokens(const GenerateRequest& request, int prompt_length, const SequenceLimits& limits) {
  const int room = limits.max_model_len - prompt_length;
  // Agents shorten their history when they read "prompt is too long" or "maximum context length is".
  if (room < 1) {
    return fail(
        ErrorCode::kContextLength,
        "the prompt is too long: this model's maximum context length is {} tokens for prompt and output together, "
        "the prompt has {}",
        limits.max_model_len, prompt_length);
  }
  if (request.max_tokens && *request.max_tokens > room) {
    return fail(ErrorCode::kContextLength,
                "this model's maximum context length is {} tokens, but the prompt has {} and {} more are asked for",
                limits.max_model_len, prompt_length, *request.max_tokens);
  }
  const int max_tokens = request.max_tokens.value_or(std::min(room, limits.default_max_tokens.value_or(room)));
  if (max_tokens < 1) {
    return fail_param(ErrorCode::kInvalidArgument, "max_tokens", "max_tokens is {}, expected at least 1", max_tokens);
  }
  if (request.min_tokens > max_tokens) {
    return fail_param(ErrorCode::kInvalidArgument, "min_tokens", "min_tokens is {}, but at most {} tokens will be made",
                      request.min_tokens, max_tokens);
  }
  return max_tokens;
}

SamplingParams choose_sampling(const GenerateRequest& request, const GenerationDefaults& defaults) {
  const SamplingOverrides& asked = request.sampling;
  SamplingParams out = default_sampling(defaults);
  out.temperature = asked.temperature.value_or(out.temperature);
  if (out.temperature < kMinTemperature) out.temperature = 0;
  out.top_p = asked.top_p.value_or(out.top_p);
  out.min_p = asked.min_p.value_or(out.min_p);
  out.top_k = asked.top_k.value_or(out.top_k);
  out.repetition_penalty = asked.repetition_penalty.value_or(out.repetition_penalty);
  out.frequency_penalty = asked.frequency_penalty.value_or(out.frequency_penalty);
  out.presence_penalty = asked.presence_penalty.value_or(out.presence_penalty);
  out.logit_bias = request.logit_bias;
  out.allowed_token_ids = request.allowed_token_ids;
  out.num_logprobs = request.num_logprobs;
  out.num_prompt_logprobs = request.num_prompt_logprobs;
  return out;
}

}  // namespace

SamplingParams default_sampling(const GenerationDefaults& defaults) {
  SamplingParams out;
  out.temperature = defaults.temperature.value_or(out.temperature);
  out.top_p = defaults.top_p.value_or(out.top_p);
  out.min_p = defaults.min_p.value_or(out.min_p);
  out.top_k = defaults.top_k.value_or(out.top_k);
  out.repetition_penalty = defaults.repetition_penalty.value_or(out.repetition_penalty);
  return out;
}

Result<std::vector<TokenId>> encode_prompt(const PromptInput& prompt, const Tokenizer& tokenizer,
                                           const ChatTemplate* chat_template, int vocab_size) {
  std::vector<TokenId> tokens;
  if (const auto* chat = std::get_if<ChatInput>(&prompt)) {
    GALE_ASSIGN(tokens, encode_chat(*chat, tokenizer, chat_template));
  } else if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
    tokens = tokenizer.encode(text->text, AddedTokens::kMatch);
  } else {
    tokens = std::get<TokenPrompt>(prompt).tokens;
    GALE_TRY(check_ids(tokens, vocab_size, "prompt"));
  }
  if (tokens.empty()) {
    return fail_param(ErrorCode::kInvalidArgument, "prompt", "the prompt is empty, expected at least one token");
  }
  return tokens;
}

Result<std::vector<std::vector<TokenId>>> encode_bad_words(const std::vector<std::string>& words,
                                                           const Tokenizer& tokenizer) {
  std::vector<std::vector<TokenId>> runs;
  size_t num_tokens = 0;
  for (const std::string& word : words) {
    const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
    for (const std::string& text : {bare, " " + bare}) {
      std::vector<TokenId> run = tokenizer.encode(text, AddedTokens::kPlain);
      if (run.empty() || std::ranges::find(runs, run) != runs.end()) continue;
      num_tokens += run.size();
      runs.push_back(std::move(run));
    }
  }
  if (num_tokens <= kMaxBadWordTokens) return runs;
  return fail_param(ErrorCode::kInvalidArgument, "bad_words", "bad_words: {} tokens in all, at most {} are allowed",
                    num_tokens, kMaxBadWordTokens);
}

void truncate_prompt(const GenerateRequest& request, const SequenceLimits& limits, std::vector<TokenId>& prompt) {
  if (!request.truncate_prompt_tokens) return;
  const int room =
      request.pooling ? limits.max_model_len : std::max(1, limits.max_model_len - request.max_tokens.value_or(1));
  const auto length = static_cast<size_t>(*request.truncate_prompt_tokens < 0 ? room : *request.truncate_prompt_tokens);
  if (prompt.size() <= length) return;
  if (request.truncates_end) prompt.resize(length);
  else prompt.erase(prompt.begin(), prompt.end() - static_cast<std::ptrdiff_t>(length));
}

int64_t estimate_prompt_tokens(const PromptInput& prompt) {
  if (const auto* tokens = std::get_if<TokenPrompt>(&prompt)) return static_cast<int64_t>(tokens->tokens.size());
  if (const auto* text = std::get_if<TextPrompt>(&prompt))
    return static_cast<int64_t>(text->text.size()) / kBytesPerToken;
  const ChatInput& chat = std::get<ChatInput>(prompt);
  return (text_bytes(chat.messages) + text_bytes(chat.tools)) / kBytesPerToken;
}

Vocabulary vocabulary_of(const Tokenizer& tokenizer, const std::vector<TokenId>& eos_token_ids) {
  Vocabulary vocabulary;
  const TokenId size = tokenizer.vocab_size();
  for (TokenId token = 0; token < size; ++token) {
    vocabulary.tokens.emplace_back(tokenizer.token_bytes(token));
    if (tokenizer.is_added(token)) vocabulary.control_tokens.push_back(token);
  }
  for (const TokenId eos : eos_token_ids)
    if (eos < size) vocabulary.stop_token_ids.push_back(eos);
  return vocabulary;
}

Result<Submit> make_pooled_submit(const GenerateRequest& request, std::vector<TokenId> prompt,
                                  const SequenceLimits& limits) {
  if (std::ssize(prompt) > limits.max_model_len) {
    return fail_param(ErrorCode::kContextLength, "input", "an input has {} tokens, but the model's context holds {}",
                      prompt.size(), limits.max_model_len);
  }
  Submit submit;
  submit.prompt = std::move(prompt);
  submit.pooling = request.pooling->pooling;
  submit.stop.max_tokens = 1;
  submit.cache_salt = request.cache_salt;
  submit.priority = request.priority;
  return submit;
}

Result<Submit> make_submit(const GenerateRequest& request, std::vector<TokenId> prompt,
                           const GenerationDefaults& defaults, const SequenceLimits& limits) {
  GALE_ASSIGN(const int max_tokens, choose_max_tokens(request, static_cast<int>(prompt.size()), limits));
  GALE_TRY(check_ids(request.stop_token_ids, limits.vocab_size, "stop_token_ids"));
  GALE_TRY(check_ids(request.allowed_token_ids, limits.vocab_size, "allowed_token_ids"));
  std::vector<TokenId> biased;
  for (const auto& [token, bias] : request.logit_bias) biased.push_back(token);
  GALE_TRY(check_ids(biased, limits.vocab_size, "logit_bias"));

  Submit submit;
  submit.prompt = std::move(prompt);
  submit.sampling = choose_sampling(request, defaults);
  submit.stop = {.stop_token_ids = request.stop_token_ids, .min_tokens = request.min_tokens, .max_tokens = max_tokens};
  if (!request.ignore_eos) {
    auto& stops = submit.stop.stop_token_ids;
    for (const TokenId eos : defaults.eos_token_ids) {
      if (std::find(stops.begin(), stops.end(), eos) == stops.end()) stops.push_back(eos);
    }
  }
  submit.cache_salt = request.cache_salt;
  submit.priority = request.priority;
  return submit;
}

}  // namespace gale
