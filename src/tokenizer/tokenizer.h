#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace gale {

// Whether text like "<|user|>" becomes the control token of that name. kPlain is for text that people typed.
enum class AddedTokens { kMatch, kPlain };

struct TextSegment {
  std::string text;
  AddedTokens added_tokens;
};

// Byte-level BPE as Hugging Face's tokenizer.json describes it: the same ids as the `tokenizers` library, never with
// special tokens added before or after. Knows files of the GPT-2, Llama 3, Qwen, GLM and DeepSeek-V3 kind; refuses
// what it does not know (SentencePiece-like models, other normalizers) when loading. Immutable, so thread-safe.
//
// Bytes that are not UTF-8 are read as U+FFFD.
class Tokenizer {
 public:
  // Errors are one line that names the file, the key and what is wrong there.
  [[nodiscard]] static Result<std::unique_ptr<Tokenizer>> load(const std::string& tokenizer_json_path);
  ~Tokenizer();

  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, AddedTokens added_tokens) const;

  // The ids of the concatenated text: words and merges run across the borders of segments. Only added tokens look at
  // the borders: one is matched where it lies completely within neighbouring kMatch segments. (A token that strips
  // blanks beside it strips them in plain segments, too.)
  [[nodiscard]] std::vector<TokenId> encode(std::span<const TextSegment> segments) const;

  // Valid UTF-8: each broken sequence becomes U+FFFD. Ids without text add nothing.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // The bytes a token stands for, not necessarily whole code points. Ids without text (negative, in a gap, beyond the
  // vocabulary): empty.
  [[nodiscard]] std::string_view token_bytes(TokenId id) const;

  // Special tokens (`"special": true`) are skipped when decoding for people. Not all added tokens are: <think> is not.
  [[nodiscard]] bool is_special(TokenId id) const;
  [[nodiscard]] bool is_added(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> find_added_token(std::string_view text) const;

  // 1 + the largest id with text. A model's embedding may have more rows; those ids mean nothing.
  [[nodiscard]] int vocab_size() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace gale
