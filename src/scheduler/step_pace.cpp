#include "scheduler/step_pace.h"

#include <algorithm>

namespace gale {
namespace {

constexpr double kNewest = 0.25;      // of a running mean; steps change slowly, single ones are disturbed
constexpr int kMinPromptTokens = 64;  // prompts get on, however slow the steps are
constexpr double kMostOfAnswers = 2;  // where answers alone need most of the time: prompts as long again
constexpr int kPatience = 16;         // steps with room for more before there is more

void take_in(double& mean, double value) { mean = mean == 0 ? value : mean + kNewest * (value - mean); }

}  // namespace

void StepPace::note(const Plan& plan, Duration time) {
  if (limit_ == Duration::zero()) return;
  int num_answers = 0;
  for (const ScheduledSequence& scheduled : plan.sequences) {
    const int num_drafts = static_cast<int>(scheduled.draft_tokens.size());
    num_answers += scheduled.num_scheduled_tokens - num_drafts == 1 ? scheduled.num_scheduled_tokens : 0;
  }
  const int num_prompt_tokens = plan.num_tokens - num_answers;
  const auto ns = static_cast<double>(time.count());
  if (num_prompt_tokens == 0) {
    take_in(answers_ns_, ns);
  } else if (num_answers > 0 && num_prompt_tokens >= kMinPromptTokens) {   // fewer say little of a mixed step's cost
    // What is left of a prompt costs whole grains, too; it does not make a full step's tokens dearer.
    const int in_grains = (plan.num_tokens + grain_ - 1) / grain_ * grain_ - num_answers;
    const int num_paid = std::max(num_prompt_tokens, std::min(in_grains, most_));
    take_in(prompt_token_ns_, std::max(1.0, ns - answers_ns_) / num_paid);
  }
  adapt();
}

void StepPace::adapt() {
  if (prompt_token_ns_ == 0) return;
  const double left = std::max(static_cast<double>(limit_.count()), kMostOfAnswers * answers_ns_) - answers_ns_;
  const int fitting = static_cast<int>(std::clamp<double>(left / prompt_token_ns_, kMinPromptTokens, 1e6));
  if (most_ > 0 && fitting > most_ && ++num_with_room_ < kPatience) return;
  most_ = fitting;
  num_with_room_ = 0;
}

}  // namespace gale
