#pragma once

#include <optional>

#include "base/clock.h"

namespace gale {

// How fast sequences end while all places are taken, and whether that has been so nearly all the time lately. "Lately"
// is a few times as long as a sequence lives: what was before fades, so a quiet night says nothing of the morning's
// first burst. Not thread-safe.
class ServicePace {
 public:
  // From now on all places are taken, or not. Calls are in order of time.
  void note(TimePoint now, bool is_full);
  // One has ended; note() follows.
  void note_end(TimePoint now, Duration life);

  // The time lately in which all places were taken, by the ends lately: where some were free now and then that is
  // rather too short. None before the first end.
  [[nodiscard]] std::optional<double> seconds_an_end() const;
  [[nodiscard]] bool is_overloaded() const;

 private:
  void pass_to(TimePoint now);

  TimePoint at_{};
  bool is_full_ = false;
  std::optional<double> life_s_;                    // mean of those that ended
  double full_s_ = 0, passed_s_ = 0, num_ends_ = 0;   // what has not faded yet
};

}  // namespace gale
