#pragma once

#include <algorithm>
#include <bit>
#include <chrono>

#include "base/clock.h"

namespace gale {

struct RestartPolicyConfig {
  int max_deaths = 5;                                         // in a row, without progress
  Duration first_backoff = std::chrono::milliseconds(500);    // before the second restart; doubles from there
  Duration max_backoff = std::chrono::seconds(30);
};

// How long to wait before the next engine is started, and when to stop hoping. Progress is a token for somebody, or a
// long quiet life; it forgives all deaths before.
class RestartPolicy {
 public:
  explicit RestartPolicy(RestartPolicyConfig config) : config_(config) {}

  struct Decision {
    Duration delay{};
    bool gives_up = false;   // live requests are to be failed; starting goes on, slowly
  };

  void note_progress() { num_deaths_ = num_extra_deaths_ = 0; }

  // `num_suspects`: sequences among which the reason is searched for by halves. That takes deaths of its own, and there
  // is no use in waiting long between them.
  [[nodiscard]] Decision on_death(int num_suspects = 0) {
    ++num_deaths_;
    const auto num_halvings = static_cast<int>(std::bit_width(static_cast<unsigned>(num_suspects)));
    if (num_suspects > 1) num_extra_deaths_ = std::max(num_extra_deaths_, 2 + num_halvings);
    if (num_deaths_ >= config_.max_deaths + num_extra_deaths_) return {config_.max_backoff, true};
    const Duration delay = backoff(num_deaths_);
    return {num_suspects > 0 ? std::min(delay, config_.first_backoff) : delay, false};
  }

  // The engine said that it cannot load what it was given: the next one will say the same.
  [[nodiscard]] Decision on_refused_load() {
    num_deaths_ = config_.max_deaths + num_extra_deaths_;
    return {config_.max_backoff, true};
  }

 private:
  // Nothing after the first death, then the first back-off, doubled each time.
  [[nodiscard]] Duration backoff(int num_deaths) const {
    if (num_deaths <= 1) return Duration::zero();
    return std::min(config_.first_backoff * (int64_t{1} << std::min(num_deaths - 2, 20)), config_.max_backoff);
  }

  RestartPolicyConfig config_;
  int num_deaths_ = 0;
  int num_extra_deaths_ = 0;
};

}  // namespace gale
