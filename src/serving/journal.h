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
  bool is_with_engine = false;         // the engine that runs now has been given it
  int num_deaths = 0;                  // engines in a row that died while they had it, without a token for it
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

  // Marks the sequence as given to the engine and returns what to send; nothing if it is gone meanwhile.
  [[nodiscard]] std::optional<Submit> hand_over(RequestId id);

  // Notes what the engine sent. Returns what is news to the client: nothing for sequences that are unknown, ended or
  // not with this engine; parts that an earlier engine has told already are taken out. A finish ends the entry.
  [[nodiscard]] std::optional<SequenceOutput> record(SequenceOutput output);

  // The engine is gone: nothing is with it any more.
  void note_engine_death();

  // What a new engine is to be given, in this order. The place to hold back suspects (entries with num_deaths > 0), so
  // that a sequence that kills its engines is found by giving them out in halves.
  [[nodiscard]] std::vector<RequestId> to_resume() const;

  // Ends all and returns them.
  [[nodiscard]] std::vector<JournalEntry> clear();
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  std::map<RequestId, JournalEntry> entries_;
};

}  // namespace gale
