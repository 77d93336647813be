#include "scheduler/step_pace.h"

#include <algorithm>

namespace gale {
namespace {

constexpr double kNewest = 0.25;      // of a running mean; steps change slowly, single ones are disturbed
constexpr int kMinPromptTokens = 16;  // prompts get on, however slow the steps are: 64 over a long context may be late
constexpr int kFewPromptTokens = 64;  // fewer say little of what mixed steps cost, unless there may be no more
constexpr int kMaxPromptTokens = 1'000'000;
constexpr double kMostOfAnswers = 2;  // where answers alone need most of the time: prompts as long again
constexpr double kIsLate = 1.02;      // of the time: less is noise
constexpr double kMaxGrowth = 2, kMaxFall = 0.5;   // at once
constexpr double kBelowTooMany = 15.0 / 16;        // how near a number may come to one that was late
constexpr int kPatience = 4;          // steps with room for more before there is more
constexpr int kMemory = 128;          // steps until what was late is tried again

constexpr double kTargetHasGrown = 1.05;           // then what was late may be in time
constexpr double kForgetting = 1.0 / 512;          // of the longest answers, a mixed step

constexpr int kAnswersAreStale = 64;  // mixed steps until one of answers alone is due

constexpr double kNewestLayers = 0.5;   // of a running mean: the context grows
constexpr double kLayersMargin = 0.95;  // of the time: no step has to be late first, as with other prompts
constexpr double kLeastLayerNs = 0.01;  // a token in a layer: a step may seem to be as short as one of answers alone

}  // namespace

std::optional<int> StepPace::max_prompt_tokens() const {
  if (most_ == 0) return std::nullopt;
  return are_answers_due() ? 0 : most_;
}

std::optional<int64_t> StepPace::max_token_layers() const {
  if (limit_ == Duration::zero() || answers_ns_ == 0) return std::nullopt;
  if (are_answers_due()) return 0;
  if (ns_a_token_layer_ > 0) {
    const double room = std::max(1.0, kLayersMargin * target_ns() - answers_ns_);
    return std::max<int64_t>(1, static_cast<int64_t>(room / ns_a_token_layer_));
  }
  return int64_t{most_ > 0 ? most_ : kFewPromptTokens} * std::max(1, num_layers_);   // as with short contexts
}

bool StepPace::are_answers_due() const { return num_mixed_ >= kAnswersAreStale; }

double StepPace::target_ns() const {
  return std::max(static_cast<double>(limit_.count()), kMostOfAnswers * most_answers_ns_);
}

void StepPace::note(const Plan& plan, Duration time) {
  if (limit_ == Duration::zero()) return;
  const int num_answers = plan.num_answer_tokens(), num_prompt_tokens = plan.num_tokens - num_answers;
  const ScheduledSequence* layered = plan.layered();
  const auto ns = static_cast<double>(time.count());
  if (num_prompt_tokens == 0) {
    answers_ns_ = answers_ns_ == 0 || num_mixed_ >= kAnswersAreStale ? ns : answers_ns_ + kNewest * (ns - answers_ns_);
    most_answers_ns_ = std::max(most_answers_ns_, answers_ns_);
    num_mixed_ = 0;
  } else if (layered != nullptr) {
    if (num_answers > 0) note_layered(*layered, ns);
  } else if (num_answers > 0 && num_prompt_tokens >= std::min(most_ > 0 ? most_ : kFewPromptTokens, kFewPromptTokens)) {
    count_mixed();
    note_mixed(num_prompt_tokens, num_answers, ns);
  }
}

void StepPace::count_mixed() {
  ++num_mixed_;
  most_answers_ns_ = std::max(answers_ns_, (1 - kForgetting) * most_answers_ns_);
}

void StepPace::note_layered(const ScheduledSequence& piece, double ns) {
  count_mixed();
  const double token_layers =
      static_cast<double>(piece.num_scheduled_tokens) * (piece.layers->end - piece.layers->first);
  const double each = std::max(kLeastLayerNs, (ns - answers_ns_) / token_layers);
  ns_a_token_layer_ = ns_a_token_layer_ == 0 ? each : ns_a_token_layer_ + kNewestLayers * (each - ns_a_token_layer_);
}

void StepPace::note_mixed(int num_prompt_tokens, int num_answers, double ns) {
  // What is left of a prompt costs whole grains, too: it is no smaller a step than a full one of so many grains.
  const int in_grains = (num_prompt_tokens + num_answers + grain_ - 1) / grain_ * grain_ - num_answers;
  const int num_paid = std::max(num_prompt_tokens, std::min(in_grains, most_));
  // As many as would fit if each cost the same, which is too few where a part of the time does not depend on them.
  if (target_ns() > kTargetHasGrown * late_target_ns_) too_many_ = 0;
  const double room = std::max(1.0, target_ns() - answers_ns_) / std::max(1.0, ns - answers_ns_);
  const auto scaled = [&](double factor) {
    return std::clamp(static_cast<int>(num_paid * factor), kMinPromptTokens, kMaxPromptTokens);
  };
  if (most_ == 0) {
    most_ = scaled(room);
  } else if (ns > kIsLate * target_ns()) {
    most_ = std::min(most_, scaled(std::max(kMaxFall, room)));
    too_many_ = too_many_ > 0 ? std::min(too_many_, num_paid) : num_paid;
    num_with_room_ = num_since_late_ = 0;
    late_target_ns_ = target_ns();
  } else if (num_paid + grain_ > most_) {                // it took all that it might
    if (too_many_ > 0 && ++num_since_late_ >= kMemory) too_many_ = 0;
    if (++num_with_room_ < kPatience) return;
    num_with_room_ = 0;
    int more = scaled(std::min(kMaxGrowth, room));
    if (too_many_ > 0) more = std::min(more, static_cast<int>(too_many_ * kBelowTooMany));
    most_ = std::max(most_, more);
  }
}

}  // namespace gale
