#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "net/http.h"
#include "net/request_rules.h"

namespace gale {

// One HTTP/1.x request out of a stream of bytes. After kComplete or an error it is used up.
class RequestParser {
 public:
  enum class Progress { kNeedMore, kHeadDone, kComplete };

  explicit RequestParser(const RequestLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Takes what it can from the front of `input` and leaves the rest there for the next call (or the next request).
  // Stops once at kHeadDone, also if there is no body, so that the caller can refuse the request before its body is
  // read.
  [[nodiscard]] tl::expected<Progress, HttpError> feed(std::string& input);

  [[nodiscard]] bool has_begun() const;              // anything but empty lines was seen
  [[nodiscard]] const RequestHead& head() const;     // from kHeadDone on; without the peer
  [[nodiscard]] std::string take_body();             // after kComplete
  [[nodiscard]] size_t num_body_bytes() const;       // so far

 private:
  class Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace gale
