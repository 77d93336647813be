#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace gale {

// A flag people know from other servers that is no option of ours.
struct KnownFlag {
  enum class Kind : unsigned char {
    kNoted,     // accepted; a note says why it changes nothing here
    kMeans,     // another spelling: `reason` is the argument it stands for
    kRefused,   // exit 2 with the reason: ignoring it would change results or promise what is not there
  };
  std::string_view flag;
  std::string_view alias;
  bool takes_value;
  Kind kind;
  std::string_view reason;
  std::vector<std::string_view> harmless = {};   // of a refused flag: values that ask for nothing we lack
};

[[nodiscard]] std::span<const KnownFlag> known_flags();

// The one called so (canonical spelling, or its --no- form if it is a switch); null if none.
[[nodiscard]] const KnownFlag* find_known_flag(std::string_view flag);
// The same of load tests.
[[nodiscard]] std::span<const KnownFlag> known_bench_flags();
[[nodiscard]] const KnownFlag* find_known_bench_flag(std::string_view flag);

}  // namespace gale
