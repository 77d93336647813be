#include "serving/tenant_limits.h"

#include <algorithm>

namespace gale {
namespace {

constexpr size_t kMaxIdle = 4096;      // keys remembered beyond those at work

}  // namespace

Status TenantLimits::enter(const std::string& tenant, TimePoint now) {
  if (tenant.empty() || (config_.max_live_requests == 0 && config_.requests_per_minute == 0)) return {};
  const Allowance whole{static_cast<double>(config_.requests_per_minute), now};
  Tenant& known = tenants_.try_emplace(tenant, Tenant{0, whole}).first->second;
  known.allowance.refill(config_.requests_per_minute, now);
  if (config_.max_live_requests > 0 && known.num_live >= config_.max_live_requests) {
    return fail(ErrorCode::kOverloaded, "this key has {} requests running or waiting, as many as it may have",
                known.num_live);
  }
  if (config_.requests_per_minute > 0 && known.allowance.left < 1) {
    const double wait = (1 - known.allowance.left) * 60 / config_.requests_per_minute;
    return fail(ErrorCode::kOverloaded, "this key may send {} requests a minute; the next one in {:.0f} s",
                config_.requests_per_minute, std::max(1.0, wait));
  }
  ++known.num_live;
  if (config_.requests_per_minute > 0) known.allowance.left -= 1;
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
  Allowance allowance = found->second.allowance;
  allowance.refill(config_.requests_per_minute, now);
  return RateLimit{.limit = config_.requests_per_minute,
                   .remaining = static_cast<int>(allowance.left),
                   .reset_s = (config_.requests_per_minute - allowance.left) * 60 / config_.requests_per_minute};
}

// A key that is idle and has its whole allowance is as if it had never come.
void TenantLimits::forget_the_idle(TimePoint now) {
  if (tenants_.size() <= kMaxIdle) return;
  for (auto it = tenants_.begin(); it != tenants_.end();) {
    Tenant& tenant = it->second;
    tenant.allowance.refill(config_.requests_per_minute, now);
    const bool is_idle = tenant.num_live == 0 && tenant.allowance.left >= config_.requests_per_minute;
    it = is_idle ? tenants_.erase(it) : std::next(it);
  }
}

}  // namespace gale
