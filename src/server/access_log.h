#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/http.h"

namespace gale {

// What the log says of a generated answer.
struct AnswerFacts {
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int completion_tokens = 0;
  std::optional<double> first_token_ms;      // none: there was none
  std::vector<std::string> finish_reasons;   // of the choices, each once; "error"; "cancelled": the client left
};

// The line of an HTTP request that is over.
struct AccessLine {
  int status = 0;
  double elapsed_s = 0;
  std::string request_id;
  std::optional<AnswerFacts> answer;   // of those that generate
};
void log_access(const RequestHead& head, const AccessLine& line);

// The line of an answer that no HTTP request ends with: over a WebSocket, or a stream that its client has left.
void log_answer(const std::string& request_id, double elapsed_s, const AnswerFacts& answer);

}   // namespace gale
