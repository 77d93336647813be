#include "app/exit_code.h"

#include "base/check.h"
#include "base/log.h"

namespace gale {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kContextLength: return kExitUsage;
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnimplemented: return kExitModel;
    case ErrorCode::kOutOfMemory: return kExitMemory;
    case ErrorCode::kBusy: return kExitBusy;
    case ErrorCode::kUnauthorized:
    case ErrorCode::kForbidden:
    case ErrorCode::kTooLarge:
    case ErrorCode::kUnsupportedMedia:
    case ErrorCode::kOverloaded:
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadline:
    case ErrorCode::kCancelled: return kExitFailed;
    case ErrorCode::kInternal: return kExitInternal;
  }
  CHECK(false, "error code {}", static_cast<int>(code));
}

int report(const Error& error) {
  say(LogLevel::kError, "gale: " + escape_control(error.message));
  return exit_code(error.code);
}

}  // namespace gale
