#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gale {

// Looks for stop strings in a text that arrives in pieces, and holds back what may yet become one. Of several matches
// the one that is complete first wins, of two complete at once the longer: so the cut does not depend on the pieces.
// Stop strings are non-empty and UTF-8; then no piece given out ends inside a code point that came whole.
class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stop_strings, bool include_in_output);

  // The text that became certain. After a match it ends before the stop string, or behind it if that is to be included;
  // nothing follows.
  [[nodiscard]] std::string append(std::string_view text);

  // Releases what is held: the text ends here, or what follows cannot continue it.
  [[nodiscard]] std::string flush();

  [[nodiscard]] const std::optional<std::string>& match() const { return match_; }
  [[nodiscard]] size_t num_held_bytes() const { return held_.size(); }

 private:
  [[nodiscard]] bool find_match(const std::string& buffer, size_t num_seen, size_t& begin);
  [[nodiscard]] size_t possible_beginning(std::string_view buffer) const;

  const std::vector<std::string> stop_strings_;
  const bool include_in_output_;
  size_t longest_ = 0;
  std::string held_;
  std::optional<std::string> match_;
};

}  // namespace gale
