#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/allowance.h"
#include "base/clock.h"

namespace gale {

// Keeps one who tries keys from trying many. An address may bring so many wrong keys a minute; beyond that its keys are
// refused unread, except those that opened for it before: behind a gateway all have one address, and one wrong key
// there must not lock out the others.
class KeyGuard {
 public:
  enum class Verdict { kOpen, kWrong, kTooMany };

  // wrong_a_minute 0: no limit.
  KeyGuard(int wrong_a_minute, const Clock& clock) : wrong_a_minute_(wrong_a_minute), clock_(clock) {}

  [[nodiscard]] Verdict ask(const std::string& address, const std::string& key,
                            const std::function<bool(const std::string&)>& opens);
  // Until the address may try again; at least a second.
  [[nodiscard]] int seconds_to_wait() const;

 private:
  struct Caller {
    Allowance allowance;             // of wrong keys
    std::vector<size_t> proven;      // hashes of keys that opened for it
    bool is_told = false;            // the log knows that it tries too many
  };
  [[nodiscard]] Caller& caller_of(const std::string& address);

  int wrong_a_minute_;
  const Clock& clock_;
  std::mutex mutex_;
  std::unordered_map<std::string, Caller> callers_;
};

}  // namespace gale
