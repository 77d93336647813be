#include "server/access_log.h"

#include <fmt/ranges.h>

#include "base/log.h"

namespace gale {
namespace {

// " tokens=12+30 cached=8 first=20.1 ms finish=stop"
std::string in_words(const AnswerFacts& answer, const std::string& reasons) {
  std::string out =
      fmt::format(" tokens={}+{} cached={}", answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens);
  if (answer.first_token_ms) out += fmt::format(" first={:.1f} ms", *answer.first_token_ms);
  return out + " finish=" + reasons;
}

// `reasons` must outlive the fields.
void append_fields(LogFields& fields, const AnswerFacts& answer, const std::string& reasons) {
  fields.push_back({"prompt_tokens", int64_t{answer.prompt_tokens}});
  fields.push_back({"cached_tokens", int64_t{answer.cached_tokens}});
  fields.push_back({"completion_tokens", int64_t{answer.completion_tokens}});
  if (answer.first_token_ms) fields.push_back({"first_token_ms", *answer.first_token_ms});
  fields.push_back({"finish_reason", reasons});
}

std::string joined(const AnswerFacts& answer) { return fmt::format("{}", fmt::join(answer.finish_reasons, ",")); }

void tell_access(const RequestHead& head, const AccessLine& line) {
  const int minor = head.is_http10 ? 0 : 1;
  const double elapsed_ms = line.elapsed_s * 1e3;
  const std::string reasons = line.answer ? joined(*line.answer) : "";
  LogFields fields = {{"request_id", line.request_id},  {"client", head.peer},
                      {"method", head.method},          {"path", head.path},
                      {"status", int64_t{line.status}}, {"ms", elapsed_ms}};
  if (line.answer) append_fields(fields, *line.answer, reasons);
  log_line(LogLevel::kInfo,
           fmt::format("{} - \"{} {} HTTP/1.{}\" {} {:.1f} ms id={}{}", head.peer, head.method, head.path, minor,
                       line.status, elapsed_ms, line.request_id, line.answer ? in_words(*line.answer, reasons) : ""),
           fields);
}

void tell_answer(const std::string& request_id, double elapsed_s, const AnswerFacts& answer) {
  const std::string reasons = joined(answer);
  LogFields fields = {{"request_id", request_id}, {"ms", elapsed_s * 1e3}};
  append_fields(fields, answer, reasons);
  log_line(LogLevel::kInfo,
           fmt::format("answer {:.1f} ms id={}{}", elapsed_s * 1e3, request_id, in_words(answer, reasons)), fields);
}

}   // namespace

void log_access(const RequestHead& head, const AccessLine& line) {
  log_if_possible([&] { tell_access(head, line); });
}

void log_answer(const std::string& request_id, double elapsed_s, const AnswerFacts& answer) {
  log_if_possible([&] { tell_answer(request_id, elapsed_s, answer); });
}

}   // namespace gale
