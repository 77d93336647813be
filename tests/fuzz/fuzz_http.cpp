// What comes over a socket: requests to the server, events to the client.
#include <algorithm>
#include <string>
#include <vector>

#include "fuzz_targets.h"
#include "net/http_client.h"
#include "net/request_parser.h"

namespace gale {
namespace {

// All that a reader of the request learns.
struct Outcome {
  int status = 0;             // of the refusal; 0: none
  bool is_complete = false;
  std::string method, path, query, body, rest;
  bool operator==(const Outcome&) const = default;
};

Outcome read_in_pieces(std::string_view bytes, size_t piece) {
  RequestParser parser({.max_line_bytes = 256, .max_head_bytes = 1024, .max_fields = 8, .max_body_bytes = 512});
  Outcome out;
  std::string input;
  for (size_t at = 0; at < bytes.size() && !out.is_complete; at += piece) {
    input += bytes.substr(at, piece);
    for (;;) {
      const auto progress = parser.feed(input);
      if (!progress) {
        fuzz_check_message(progress.error().message);
        out.status = progress.error().status;
        fuzz_check(out.status >= 400 && out.status < 600, "a refusal has an error's status");
        return out;
      }
      out.is_complete = *progress == RequestParser::Progress::kComplete;
      if (*progress != RequestParser::Progress::kHeadDone) break;
    }
    if (out.is_complete) out.rest = input + std::string(bytes.substr(std::min(bytes.size(), at + piece)));
  }
  if (!out.is_complete) return out;
  out.method = parser.head().method;
  out.path = parser.head().path;
  out.query = parser.head().query;
  out.body = parser.take_body();
  fuzz_check(out.body.size() <= 512, "a body is within its bound");
  return out;
}

std::vector<std::string> events_of(std::string_view bytes, size_t piece) {
  EventReader reader;
  std::vector<std::string> events;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    reader.append(bytes.substr(at, piece), [&events](std::string_view data) {
      events.emplace_back(data);
      return true;
    });
  }
  return events;
}

}  // namespace

void fuzz_http_request(std::string_view input) {
  const Outcome whole = read_in_pieces(input, std::max<size_t>(input.size(), 1));
  fuzz_check(read_in_pieces(input, 7) == whole, "pieces of a request make no difference");
  if (input.size() < 512) fuzz_check(read_in_pieces(input, 1) == whole, "single bytes of a request make no difference");
}

void fuzz_sse_client(std::string_view input) {
  const std::vector<std::string> whole = events_of(input, std::max<size_t>(input.size(), 1));
  fuzz_check(events_of(input, 1) == whole, "single bytes of a stream make no difference");
  fuzz_check(events_of(input, 5) == whole, "pieces of a stream make no difference");
}

}  // namespace gale
