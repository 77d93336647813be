#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "request/generation_config.h"
#include "request/messages.h"
#include "serving/pipeline.h"

namespace gale {

class Tokenizer;

// What a sequence may be, as the engine and the operator say.
struct SequenceLimits {
  int max_model_len = 0;                     // tokens, prompt and output
  int vocab_size = 0;
  std::optional<int> default_max_tokens;     // for requests that name none
};

// Chat: template text may name control tokens, what people typed is plain text. A raw prompt is read as Hugging Face's
// tokenizers read text: added tokens in it are matched (there is no other way to write them), and none are added. Token
// ids are checked against the vocabulary; an empty prompt is refused. `chat_template` may be null: no chat then.
[[nodiscard]] Result<std::vector<TokenId>> encode_prompt(const PromptInput& prompt, const Tokenizer& tokenizer,
                                                         const ChatTemplate* chat_template, int vocab_size);

// The runs of tokens that must not come: each word as it is, and behind a space where that reads otherwise.
[[nodiscard]] Result<std::vector<std::vector<TokenId>>> encode_bad_words(const std::vector<std::string>& words,
                                                                         const Tokenizer& tokenizer);

// The prompt as short as the request wants it.
void truncate_prompt(const GenerateRequest& request, const SequenceLimits& limits, std::vector<TokenId>& prompt);

// A bound of the prompt's length from its bytes, for the door: cheap, never exact.
[[nodiscard]] int64_t estimate_prompt_tokens(const PromptInput& prompt);

// What the tokens are, for grammars. End-of-sequence ids beyond the vocabulary are left out.
[[nodiscard]] Vocabulary vocabulary_of(const Tokenizer& tokenizer, const std::vector<TokenId>& eos_token_ids);

// The sequence of a pooled input: its id is the caller's to set.
[[nodiscard]] Result<Submit> make_pooled_submit(const GenerateRequest& request, std::vector<TokenId> prompt,
                                                const SequenceLimits& limits);

// What counts where a request says nothing: the model's own defaults before ours.
[[nodiscard]] SamplingParams default_sampling(const GenerationDefaults& defaults);

// The sequence to compute: defaults filled in, lengths and ids checked. Its id and seed are the caller's to set, its
// prompt logprobs those of choice 0.
[[nodiscard]] Result<Submit> make_submit(const GenerateRequest& request, std::vector<TokenId> prompt,
                                         const GenerationDefaults& defaults, const SequenceLimits& limits);

}  // namespace gale
