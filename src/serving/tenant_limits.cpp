#include "serving/tenant_limits.h"

#include <algorithm>

namespace gale {
namespace {

constexpr size_t kMaxIdle = 4096;      // keys remembered beyond those at work

}  // namespace

void TenantLimits::refill(Tenant& tenant, TimePoint now) const {
  const double minutes = seconds(now - tenant.counted_at) / 60;
  tenant.allowance =
      std::min<double>(config_.requests_per_minute, tenant.allowance + minutes * config_.requests_per_minute);
  tenant.counted_at = now;
}

Status TenantLimits::enter(const std::string& tenant, TimePoint now) {
  if (tenant.empty() || (config_.max_live_requests == 0 && config_.requests_per_minute == 0)) return {};
  const auto [entry, is_new] =
      tenants_.try_emplace(tenant, Tenant{0, static_cast<double>(config_.requests_per_minute), now});
  Tenant& known = entry->second;
  if (!is_new) refill(known, now);
  if (config_.max_live_requests > 0 && known.num_live >= config_.max_live_requests) {
    return fail(ErrorCode::kOverloaded, "this key has {} requests running or waiting, as many as it may have",
                known.num_live);
  }
  if (config_.requests_per_minute > 0 && known.allowance < 1) {
    const double wait = (1 - known.allowance) * 60 / config_.requests_per_minute;
    return fail(ErrorCode::kOverloaded, "this key may send {} requests a minute; the next one in {:.0f} s",
                config_.requests_per_minute, std::max(1.0, wait));
  }
  ++known.num_live;
  if (config_.requests_per_minute > 0) known.allowance -= 1;
  forget_the_idle(now);
  return {};
}

void TenantLimits::leave(const std::string& tenant, TimePoint now) {
  const auto found = tenants_.find(tenant);
  if (found == tenants_.end()) return;
  --found->second.num_live;
  forget_the_idle(now);
}

std::optional<RateLimit> TenantLimits::rate_limit(const std::string& tenant, TimePoint now) const {
  const auto found = tenants_.find(tenant);
  if (config_.requests_per_minute == 0 || found == tenants_.end()) return std::nullopt;
  Tenant known = found->second;
  refill(known, now);
  return RateLimit{.limit = config_.requests_per_minute,
                   .remaining = static_cast<int>(known.allowance),
                   .reset_s = (config_.requests_per_minute - known.allowance) * 60 / config_.requests_per_minute};
}

// A key that is idle and has its whole allowance is as if it had never come.
void TenantLimits::forget_the_idle(TimePoint now) {
  if (tenants_.size() <= kMaxIdle) return;
  for (auto it = tenants_.begin(); it != tenants_.end();) {
    refill(it->second, now);
    const bool is_idle = it->second.num_live == 0 && it->second.allowance >= config_.requests_per_minute;
    it = is_idle ? tenants_.erase(it) : std::next(it);
  }
}

}  // namespace gale
