#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "request/messages.h"

namespace gale {

// What one live sequence was asked for and has been told: enough for any engine to go on with it.
struct JournalEntry {
  Submit submit;                       // `output` grows with every token the engine sends
  bool is_due = false;                 // to be handed over to the engine that runs now
  bool is_with_engine = false;         // the engine that runs now has been given it
  bool is_waiting_there = false;       // and has said that it computes nothing for it yet
  bool has_moved = false;              // and has sent something for it
  int num_deaths = 0;                  // engines in a row that died while they were at it, without a token for it
  int num_lone_deaths = 0;             // of them: the engine had been given nothing else in its life
  size_t num_prompt_logprobs = 0;      // entries received, over all engines
  size_t num_repeated_prompt_logprobs = 0;   // entries a new engine computes again, yet to be dropped
  bool knows_cached_tokens = false;    // the count of the first engine stands
};

// All sequences that are not finished, in order of arrival. Not thread-safe; knows no channel.
class Journal {
 public:
  void add(Submit submit);
  // False if there was none. Whether the engine must be told is in the entry: look before.
  bool remove(RequestId id);
  [[nodiscard]] const JournalEntry* find(RequestId id) const;

  // What the engine that runs now is to be given, in this order: usually all. When engines die over the same few,
  // one of them may be the reason; it is searched for by halves: a half of the suspects and nobody else, until each has
  // its next token (then it was the other half, which is due next) or that engine dies, too (then a half of the half).
  [[nodiscard]] std::vector<RequestId> take_due();
  // One more, that has just come.
  [[nodiscard]] std::vector<RequestId> take_due(RequestId id);
  // Taken, but not to be handed over yet: as if it had not been taken.
  void put_back(RequestId id) { entries_.at(id).is_due = false; }
  [[nodiscard]] int num_suspects() const;
  // Sequences over which engines died, at last with nothing else in their lives: ends them and returns them.
  [[nodiscard]] std::vector<JournalEntry> convict();

  // Marks the sequence as given to the engine and returns what to send; nothing if it is gone meanwhile.
  [[nodiscard]] std::optional<Submit> hand_over(RequestId id);

  // Notes what the engine sent. Returns what is news to the client: nothing for sequences that are unknown, ended or
  // not with this engine, and for outputs without tokens, which only say whether the sequence waits there or, with a
  // count of cached tokens, runs; parts that an earlier engine has told already are taken out. A finish ends the entry.
  [[nodiscard]] std::optional<SequenceOutput> record(SequenceOutput output);

  // The engine is gone: nothing is with it any more.
  void note_engine_death();

  // Ends all and returns them.
  [[nodiscard]] std::vector<JournalEntry> clear();
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  void clear_of_suspicion(JournalEntry& entry);

  std::map<RequestId, JournalEntry> entries_;
  int num_handed_over_ = 0;            // to the engine that runs now
  int max_deaths_ = 0;                 // of any entry, or more: suspects are then looked for in vain once
};

}  // namespace gale
