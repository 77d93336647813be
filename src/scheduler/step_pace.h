#pragma once

#include <optional>

#include "base/clock.h"
#include "scheduler/plan.h"

namespace gale {

// How many prompt tokens a step may take beside answers and still end within a time: learnt by trying, as the time may
// grow with the tokens in any way (steps with prompts may cost more from the first token on, or by whole grains). A
// step that was late makes it fewer at once; some steps in a row that took all they might and ended early make it more.
// A number that was late is not tried again for some time, or steps would swing between two sizes.
// Long prompts, which go through the model a few layers a step, are told apart: what a token costs in a layer is
// taken from the steps just before, as it grows with the context alone.
class StepPace {
 public:
  // Zero: steps may take as long as they like. grain: SchedulerConfig::mixed_step_grain, 1 or more; num_layers: of the
  // model.
  StepPace(Duration limit, int grain, int num_layers = 1) : limit_(limit), grain_(grain), num_layers_(num_layers) {}

  void note(const Plan& plan, Duration time);
  // Of the next step; nothing: no limit, or not known yet. 0 now and then, where no step was of answers alone for long:
  // what these take has to be known, and they get on meanwhile.
  [[nodiscard]] std::optional<int> max_prompt_tokens() const;
  // The same for a prompt that goes by layers: its tokens times their layers.
  [[nodiscard]] std::optional<int64_t> max_token_layers() const;

 private:
  void note_mixed(int num_prompt_tokens, int num_answers, double ns);
  void note_layered(const ScheduledSequence& piece, double ns);
  void count_mixed();
  [[nodiscard]] bool are_answers_due() const;
  [[nodiscard]] double target_ns() const;

  Duration limit_;
  int grain_;
  int num_layers_;
  int most_ = 0;
  int num_with_room_ = 0;     // steps in a row that took most_ tokens and ended early
  int too_many_ = 0;          // the fewest tokens that were late of late; 0: none
  int num_since_late_ = 0;    // steps that took most_ tokens since then
  double late_target_ns_ = 0; // the time that these were to end in
  double answers_ns_ = 0;     // running mean of steps without prompts; 0: not seen yet
  // The most of it of late: with experts a step with prompts reads all weights, however few answer.
  double most_answers_ns_ = 0;
  int num_mixed_ = 0;         // steps since the last of these
  double ns_a_token_layer_ = 0;   // of the last steps with a piece that went by layers; 0: not seen yet
};

}  // namespace gale
