#include "server/key_guard.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"

namespace gale {
namespace {

constexpr size_t kMaxCallers = 4096, kMaxProven = 256;   // what is beyond is forgotten, which only costs a 401

}  // namespace

KeyGuard::Caller& KeyGuard::caller_of(const std::string& address) {
  const TimePoint now = clock_.now();
  if (callers_.size() >= kMaxCallers && !callers_.contains(address)) {
    const auto oldest = std::ranges::min_element(
        callers_, {}, [](const auto& entry) { return entry.second.allowance.counted_at; });
    callers_.erase(oldest);
  }
  const Allowance whole{static_cast<double>(wrong_a_minute_), now};
  Caller& caller = callers_.try_emplace(address, Caller{.allowance = whole}).first->second;
  caller.allowance.refill(wrong_a_minute_, now);
  return caller;
}

KeyGuard::Verdict KeyGuard::ask(const std::string& address, const std::string& key,
                                const std::function<bool(const std::string&)>& opens) {
  if (wrong_a_minute_ == 0 || key.empty()) return opens(key) ? Verdict::kOpen : Verdict::kWrong;
  const size_t hash = std::hash<std::string>()(key);
  const std::lock_guard lock(mutex_);
  Caller& caller = caller_of(address);
  const bool is_proven = std::ranges::find(caller.proven, hash) != caller.proven.end();
  double& num_left = caller.allowance.left;   // wrong keys that may come now
  if (num_left < 1 && !is_proven) {
    if (!caller.is_told) log_warning("{} brings too many wrong API keys: its keys are refused for a while", address);
    caller.is_told = true;
    return Verdict::kTooMany;
  }
  if (opens(key)) {
    if (!is_proven && caller.proven.size() < kMaxProven) caller.proven.push_back(hash);
    return Verdict::kOpen;
  }
  num_left = std::max(0.0, num_left - 1);
  caller.is_told = caller.is_told && num_left < 1;
  return Verdict::kWrong;
}

int KeyGuard::seconds_to_wait() const {
  return std::max(1, static_cast<int>(std::ceil(60.0 / std::max(1, wrong_a_minute_))));
}

}  // namespace gale
