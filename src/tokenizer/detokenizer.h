#pragma once

#include <string>

#include "tokenizer/tokenizer.h"

namespace gale {

// Turns a growing sequence of ids into text piece by piece. All pieces together equal Tokenizer::decode of all ids, and
// no piece ends inside a code point: bytes of an unfinished one are held back. Refers to the tokenizer.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // The text that became certain with this id; may be empty.
  [[nodiscard]] std::string append(TokenId id);

  // What is still held back, as U+FFFD. Afterwards the detokenizer is as new.
  [[nodiscard]] std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::string held_;   // the beginning of a code point, at most 3 bytes
};

}  // namespace gale
