#include "serving/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace gale {

StopMatcher::StopMatcher(std::vector<std::string> stop_strings, bool include_in_output)
    : stop_strings_(std::move(stop_strings)), include_in_output_(include_in_output) {
  for (const std::string& stop : stop_strings_) longest_ = std::max(longest_, stop.size());
}

std::string StopMatcher::append(std::string_view text) {
  if (match_) return {};
  if (longest_ == 0) return std::string(text);
  const size_t num_seen = held_.size();
  std::string buffer = std::exchange(held_, {});
  buffer.append(text);
  size_t begin = 0;
  if (find_match(buffer, num_seen, begin)) {
    buffer.resize(include_in_output_ ? begin + match_->size() : begin);
    return buffer;
  }
  const size_t num_held = possible_beginning(buffer);
  held_ = buffer.substr(buffer.size() - num_held);
  buffer.resize(buffer.size() - num_held);
  return buffer;
}

std::string StopMatcher::flush() { return std::exchange(held_, {}); }

// The first `num_seen` bytes were searched before: a match ends behind them.
bool StopMatcher::find_match(const std::string& buffer, size_t num_seen, size_t& begin) {
  size_t best_end = std::string::npos;
  for (const std::string& stop : stop_strings_) {
    const size_t from = num_seen + 1 > stop.size() ? num_seen + 1 - stop.size() : 0;
    const size_t found = buffer.find(stop, from);
    if (found == std::string::npos) continue;
    const size_t end = found + stop.size();
    if (end < best_end || (end == best_end && found < begin)) {
      best_end = end;
      begin = found;
      match_ = stop;
    }
  }
  return match_.has_value();
}

// The length of the longest end of `buffer` that some stop string begins with.
size_t StopMatcher::possible_beginning(std::string_view buffer) const {
  for (size_t length = std::min(buffer.size(), longest_ - 1); length > 0; --length) {
    const std::string_view end = buffer.substr(buffer.size() - length);
    const auto begins_with_end = [&](const std::string& stop) { return stop.size() > length && stop.starts_with(end); };
    if (std::any_of(stop_strings_.begin(), stop_strings_.end(), begins_with_end)) return length;
  }
  return 0;
}

}  // namespace gale
