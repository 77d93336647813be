#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace gale {

// What kind of trouble the outside world gave us. `api/errors` maps each to one HTTP status, `app` to an exit code.
enum class ErrorCode {
  kInvalidArgument,      // a value is wrong: 400, exit 2
  kContextLength,        // prompt or prompt + output exceed the context: 400 context_length_exceeded
  kUnauthorized,         // 401
  kForbidden,            // 403
  kNotFound,             // file, model, route: 404, exit 3
  kTooLarge,             // body over the limit: 413
  kUnsupportedMedia,     // 415
  kOverloaded,           // refused by load or limit: 429 with Retry-After
  kUnimplemented,        // known, but this build cannot do it: 400 or 501
  kUnavailable,          // loading, draining or no engine: 503 with Retry-After
  kDeadline,             // 504
  kCancelled,            // the client left or cancelled: 499 in log and metric only
  kCorrupt,              // a file lies about itself: exit 3
  kOutOfMemory,          // exit 4
  kBusy,                 // port or device taken: exit 5
  kInternal,             // 500, exit 70
};

// A failure that somebody outside can act on. Never thrown.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;       // what was expected, what came, where, what to do; one line, safe to show
  std::string param = {};    // the request field or option at fault, if one is
  bool operator==(const Error&) const = default;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The same, naming the request field or option that is wrong.
template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail_param(ErrorCode code, std::string param, fmt::format_string<Args...> format,
                                               Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...), std::move(param)});
}

}  // namespace gale

// Returns the error of a Status expression to the caller.
#define GALE_TRY(expression)                                             \
  do {                                                                   \
    auto gale_status = (expression);                                     \
    if (!gale_status) return tl::unexpected<::gale::Error>(std::move(gale_status).error()); \
  } while (false)

#define GALE_CONCAT_INNER(a, b) a##b
#define GALE_CONCAT(a, b) GALE_CONCAT_INNER(a, b)
// GALE_ASSIGN(auto x, f()): x = the value of a Result expression, or returns its error to the caller.
#define GALE_ASSIGN(declaration, expression) \
  GALE_ASSIGN_INNER(GALE_CONCAT(gale_result_, __LINE__), declaration, expression)
#define GALE_ASSIGN_INNER(name, declaration, expression)                        \
  auto name = (expression);                                                     \
  if (!name) return tl::unexpected<::gale::Error>(std::move(name).error());     \
  declaration = std::move(*name)
