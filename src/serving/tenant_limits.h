#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include "base/allowance.h"
#include "base/clock.h"
#include "base/result.h"

namespace gale {

struct TenantLimitsConfig {
  int max_live_requests = 0;           // of one key at once; 0: no limit
  int requests_per_minute = 0;         // of one key, on average; as many may come at once; 0: no limit
};

// What a key has left of the requests that it may send.
struct RateLimit {
  int limit = 0;                       // a minute
  int remaining = 0;                   // now
  double reset_s = 0;                  // until it has all of them again
  bool operator==(const RateLimit&) const = default;
};

// What one API key may do beside the others. Requests without a key (empty tenant) are not counted. Not thread-safe.
class TenantLimits {
 public:
  explicit TenantLimits(TenantLimitsConfig config) : config_(config) {}

  // kOverloaded if this key has what it may have; else counts the request.
  [[nodiscard]] Status enter(const std::string& tenant, TimePoint now);
  void leave(const std::string& tenant, TimePoint now);
  // How much of its requests a minute a key has left; none: nobody counts them, or the key has not come yet.
  [[nodiscard]] std::optional<RateLimit> rate_limit(const std::string& tenant, TimePoint now) const;
  [[nodiscard]] size_t num_known() const { return tenants_.size(); }

 private:
  struct Tenant {
    int num_live = 0;
    Allowance allowance;               // of requests
  };
  void forget_the_idle(TimePoint now);

  const TenantLimitsConfig config_;
  std::unordered_map<std::string, Tenant> tenants_;
};

}  // namespace gale
