#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "base/result.h"
#include "request/messages.h"
#include "request/token_constraint.h"

namespace gale {

class GrammarTokens;
class MaskPool;

// Makes the constraints of sequences: grammars and limits of thinking. Reading grammars and computing masks happens on
// threads of its own; constraints may not outlive it. For one thread.
class Constraints {
 public:
  // vocab_size: of the model; masks have a bit for each id.
  explicit Constraints(int vocab_size);
  ~Constraints();

  // What is wrong with the vocabulary is told to those who bring grammars.
  void set_vocabulary(const Vocabulary& vocabulary);

  // Null if the sequence has no constraint. A grammar that turns out to be unreadable is an error of its first mask.
  [[nodiscard]] Result<std::unique_ptr<TokenConstraint>> make(const Submit& submit);

  struct SharedGrammar;   // read once, by whichever thread

 private:
  [[nodiscard]] std::shared_ptr<SharedGrammar> find_or_add(const SharedText& serialised);

  const int vocab_size_;
  Result<std::shared_ptr<const GrammarTokens>> tokens_;    // shared with grammars, which sequences hold
  std::list<std::shared_ptr<SharedGrammar>> recent_;       // latest first: equal grammars are read once
  std::unique_ptr<MaskPool> pool_;                         // last: its threads use what is above
};

}  // namespace gale
