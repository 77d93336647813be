#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/token.h"
#include "request/messages.h"

// What text an answer may be, down to the next token. xgrammar behind three small classes; nothing else includes it.
namespace gale {

// A vocabulary as grammars see it. Control tokens have no text that a grammar's text could match: they come only where
// a grammar names them by id, so a tag inside an answer is always the tag, and text that looks like one is always text.
class GrammarTokens {
 public:
  [[nodiscard]] static Result<std::shared_ptr<const GrammarTokens>> create(const Vocabulary& vocabulary);
  ~GrammarTokens();
  [[nodiscard]] int vocab_size() const;   // 1 + the largest id
  // Whether the token is text, and of blanks alone; whether it is text at all.
  [[nodiscard]] bool is_blank(TokenId token) const;
  [[nodiscard]] bool is_text(TokenId token) const;

  struct Parts;
  [[nodiscard]] const Parts& parts() const { return *parts_; }

 private:
  explicit GrammarTokens(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

// The serialised form of a grammar, for Submit.grammar. `structural_tag`: xgrammar's JSON of formats
// ({"type": "structural_tag", "format": …}). May take long and much memory: meant for a process with limits.
// kInvalidArgument says what is wrong with the grammar or what in it is not supported; nothing in it is ignored.
[[nodiscard]] Result<std::string> compile_grammar(const std::string& structural_tag, const GrammarTokens& tokens);

// A compiled grammar. Immutable; shared by all sequences that follow it.
class Grammar {
 public:
  // kCorrupt if the bytes are not a grammar for these tokens.
  [[nodiscard]] static Result<std::shared_ptr<const Grammar>> read(const std::string& serialised,
                                                                   std::shared_ptr<const GrammarTokens> tokens);
  ~Grammar();
  [[nodiscard]] const GrammarTokens& tokens() const { return *tokens_; }
  [[nodiscard]] size_t num_bytes() const;

  struct Parts;
  [[nodiscard]] const Parts& parts() const { return *parts_; }

 private:
  Grammar(std::unique_ptr<const Parts> parts, std::shared_ptr<const GrammarTokens> tokens);
  std::unique_ptr<const Parts> parts_;
  std::shared_ptr<const GrammarTokens> tokens_;   // shared: all grammars of a vocabulary use it
};

// Where one sequence stands in its grammar.
class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<const Grammar> grammar);
  ~GrammarState();

  // False if the token may not come here; then nothing changes.
  [[nodiscard]] bool accept(TokenId token);
  // A stop token was accepted: nothing follows.
  [[nodiscard]] bool is_over() const;
  // Which tokens may come next: bit t % 32 of words[t / 32] allows token t; all words are written. Not after is_over().
  [[nodiscard]] Status allowed(std::span<uint32_t> words);

 private:
  struct Parts;
  std::shared_ptr<const Grammar> grammar_;        // shared with other sequences and a cache
  std::unique_ptr<Parts> parts_;
};

}  // namespace gale
