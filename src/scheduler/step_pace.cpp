#include "scheduler/step_pace.h"

#include <algorithm>

namespace gale {
namespace {

constexpr double kNewest = 0.25;      // of a running mean; steps change slowly, single ones are disturbed
constexpr int kMinPromptTokens = 64;  // prompts get on, however slow the steps are
constexpr double kMostOfAnswers = 2;  // where answers alone need most of the time: prompts as long again
constexpr int kGrain = 64;            // products work on tiles of tokens

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
  if (num_prompt_tokens == 0) return take_in(answers_ns_, ns);
  if (num_answers == 0 || num_prompt_tokens < kMinPromptTokens) return;  // says little of a mixed step's cost
  take_in(prompt_token_ns_, std::max(1.0, ns - answers_ns_) / num_prompt_tokens);
}

int StepPace::max_prompt_tokens() const {
  if (prompt_token_ns_ == 0) return 0;
  const double left = std::max(static_cast<double>(limit_.count()), kMostOfAnswers * answers_ns_) - answers_ns_;
  const double fitting = std::clamp(left / prompt_token_ns_, 0.0, 1e6);
  return std::max(kMinPromptTokens, static_cast<int>(fitting) / kGrain * kGrain);
}

}  // namespace gale
