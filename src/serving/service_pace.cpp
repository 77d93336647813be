#include "serving/service_pace.h"

#include <algorithm>
#include <cmath>

namespace gale {
namespace {

constexpr double kLivesRemembered = 4;   // requests of one length end together: a few rounds of them
constexpr double kMinMemory_s = 1e-3;
constexpr double kLifeWeight = 1.0 / 64;
constexpr double kOverloadShare = 0.9;   // bursts leave more than a tenth of the time free

}  // namespace

void ServicePace::pass_to(TimePoint now) {
  const double elapsed = seconds(now - at_);
  at_ = now;
  if (!life_s_) return;   // how long to remember is not known yet
  const double memory = std::max(kLivesRemembered * *life_s_, kMinMemory_s);
  const double kept = std::exp(-elapsed / memory);
  const double gained = memory * (1 - kept);
  full_s_ = full_s_ * kept + (is_full_ ? gained : 0);
  passed_s_ = passed_s_ * kept + gained;
  num_ends_ *= kept;
}

void ServicePace::note(TimePoint now, bool is_full) {
  pass_to(now);
  is_full_ = is_full;
}

void ServicePace::note_end(TimePoint now, Duration life) {
  pass_to(now);
  if (!life_s_) passed_s_ = kLivesRemembered * seconds(life);   // as if places had been free until now
  life_s_ = life_s_ ? *life_s_ + kLifeWeight * (seconds(life) - *life_s_) : seconds(life);
  ++num_ends_;
}

std::optional<double> ServicePace::seconds_an_end() const {
  if (!life_s_) return std::nullopt;
  return full_s_ / std::max(num_ends_, 1.0);   // none for long: as if one came now
}

bool ServicePace::is_overloaded() const { return full_s_ > kOverloadShare * passed_s_; }

}  // namespace gale
