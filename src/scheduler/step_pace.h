#pragma once

#include "base/clock.h"
#include "scheduler/plan.h"

namespace gale {

// How many prompt tokens a step may take beside answers and still end within a time, learnt from the steps before: a
// step takes what its answers alone take, and so much for each prompt token. Larger steps may cost more a token than
// smaller ones: the number falls at once and rises only after some steps that all had room for more, or steps would
// swing between two sizes.
class StepPace {
 public:
  // Zero: steps may take as long as they like. grain: SchedulerConfig::mixed_step_grain, 1 or more.
  StepPace(Duration limit, int grain) : limit_(limit), grain_(grain) {}

  void note(const Plan& plan, Duration time);
  // 0: no limit, or nothing is known yet.
  [[nodiscard]] int max_prompt_tokens() const { return most_; }

 private:
  void adapt();

  Duration limit_;
  int grain_;
  int most_ = 0, num_with_room_ = 0;              // steps in a row that had room for more than most_
  double answers_ns_ = 0, prompt_token_ns_ = 0;   // running means; 0: not seen yet
};

}  // namespace gale
