#pragma once

#include <span>
#include <unordered_map>

#include "base/clock.h"
#include "request/messages.h"

namespace gale {

// What time each live sequence waited and ran, by the clock of the engine. Not thread-safe.
class SequenceClock {
 public:
  explicit SequenceClock(const Clock& clock) : clock_(clock) {}

  void note_arrival(RequestId id) { spans_[id] = {.since = clock_.now()}; }   // of a live id: it begins anew
  void note_admission(RequestId id);                        // after the first one it changes nothing
  void stamp(std::span<SequenceOutput> outputs);            // those that end are forgotten
  void forget(RequestId id) { spans_.erase(id); }
  [[nodiscard]] size_t size() const { return spans_.size(); }

 private:
  struct Span {
    TimePoint since;                                        // arrival; then admission or the last output
    bool is_admitted = false;
    Duration waited{};                                      // not told yet
  };
  const Clock& clock_;
  std::unordered_map<RequestId, Span> spans_;
};

}  // namespace gale
