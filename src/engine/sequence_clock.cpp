#include "engine/sequence_clock.h"

#include <utility>

namespace gale {
namespace {

int64_t microseconds(Duration time) { return std::chrono::duration_cast<std::chrono::microseconds>(time).count(); }

}  // namespace

void SequenceClock::note_admission(RequestId id) {
  const auto found = spans_.find(id);
  if (found == spans_.end() || found->second.is_admitted) return;
  Span& span = found->second;
  const TimePoint now = clock_.now();
  span.waited = now - span.since;
  span.since = now;
  span.is_admitted = true;
}

void SequenceClock::stamp(std::span<SequenceOutput> outputs) {
  const TimePoint now = clock_.now();
  for (SequenceOutput& output : outputs) {
    const auto found = spans_.find(output.id);
    if (found == spans_.end()) continue;
    Span& span = found->second;
    if (span.is_admitted) {
      output.time = {.waiting_us = microseconds(std::exchange(span.waited, Duration::zero())),
                     .running_us = microseconds(now - std::exchange(span.since, now))};
    }
    if (output.finish) spans_.erase(found);
  }
}

}  // namespace gale
