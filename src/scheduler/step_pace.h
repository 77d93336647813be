#pragma once

#include "base/clock.h"
#include "scheduler/plan.h"

namespace gale {

// How many prompt tokens a step may take beside answers and still end within a time, learnt from the steps before: a
// step takes what its answers alone take, and so much for each prompt token.
class StepPace {
 public:
  // Zero: steps may take as long as they like.
  explicit StepPace(Duration limit) : limit_(limit) {}

  void note(const Plan& plan, Duration time);
  // 0: no limit, or nothing is known yet.
  [[nodiscard]] int max_prompt_tokens() const;

 private:
  Duration limit_;
  double answers_ns_ = 0, prompt_token_ns_ = 0;   // running means; 0: not seen yet
};

}  // namespace gale
