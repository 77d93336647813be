#pragma once

#include <iostream>
#include <string>

#include "base/json.h"

namespace gale {

// Answers each line of stdin, a JSON value, with one line: what `answer` makes of it. The process's exit code.
template <class Answer>
int answer_json_lines(Answer&& answer) {
  for (std::string line; std::getline(std::cin, line);) {
    const auto request = parse_json(line);
    if (!request) {
      std::cerr << request.error().message << "\n";
      return 2;
    }
    std::cout << dump_json(answer(*request)) << "\n";
  }
  return 0;
}

}  // namespace gale
