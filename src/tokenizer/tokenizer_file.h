#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/token.h"

namespace gale {

struct AddedToken {
  TokenId id;
  std::string text;
  bool is_special;
  bool is_normalized;   // matched in the normalised text, not in the raw one
  bool strips_left;     // takes the blanks before it
  bool strips_right;
};

enum class NormalForm { kNone, kNfc };

// What tokenizer.json says, checked for being of the byte-level BPE kind, not yet for fitting together.
// Tokens are as written in the file: in the byte alphabet (tokenizer/byte_alphabet.h).
struct TokenizerFile {
  std::vector<std::pair<std::string, TokenId>> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;   // best first
  std::vector<AddedToken> added_tokens;
  std::vector<std::string> split_patterns;   // applied one after the other; matches and the text between become pieces
  NormalForm normal_form = NormalForm::kNone;
  bool ignore_merges = false;                // a piece that is a token is taken whole
};

[[nodiscard]] Result<TokenizerFile> read_tokenizer_file(const std::string& path);

// What the ByteLevel pre-tokenizer splits by when "use_regex" is true.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace gale
