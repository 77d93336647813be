#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "base/json.h"

namespace gale {

// The corpus of the output parser's tests.

struct ExpectedCall {
  std::string name;
  std::string arguments;
};

enum class Start { kReasoning, kContent };
enum class Tools { kParsed, kOff };

struct OutputCase {
  std::string name;
  std::string output;   // tags are tokens, unless a ~ stands before them
  std::string reasoning;
  std::string content;
  std::vector<ExpectedCall> calls = {};
  Start start = Start::kContent;
  Tools tools = Tools::kParsed;
};

inline void PrintTo(const OutputCase& c, std::ostream* out) { *out << c.output; }

[[nodiscard]] std::vector<OutputCase> output_cases();

// get_weather, get_time, write, search: the tools whose schemas the cases use.
[[nodiscard]] Json output_case_tools();

}  // namespace gale
