#pragma once

#include <channel/channel.pb.h>

#include <array>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/result.h"
#include "request/messages.h"

namespace gale {

// How enum values are numbered on the wire, whatever their order in our headers.
template <class Ours, class Wire, size_t kSize>
using WireNames = std::array<std::pair<Ours, Wire>, kSize>;

inline constexpr WireNames<ErrorCode, wire::ErrorCode, 16> kWireErrorCodes = {{
    {ErrorCode::kInvalidArgument, wire::ERROR_INVALID_ARGUMENT},
    {ErrorCode::kContextLength, wire::ERROR_CONTEXT_LENGTH},
    {ErrorCode::kUnauthorized, wire::ERROR_UNAUTHORIZED},
    {ErrorCode::kForbidden, wire::ERROR_FORBIDDEN},
    {ErrorCode::kNotFound, wire::ERROR_NOT_FOUND},
    {ErrorCode::kTooLarge, wire::ERROR_TOO_LARGE},
    {ErrorCode::kUnsupportedMedia, wire::ERROR_UNSUPPORTED_MEDIA},
    {ErrorCode::kOverloaded, wire::ERROR_OVERLOADED},
    {ErrorCode::kUnimplemented, wire::ERROR_UNIMPLEMENTED},
    {ErrorCode::kUnavailable, wire::ERROR_UNAVAILABLE},
    {ErrorCode::kDeadline, wire::ERROR_DEADLINE},
    {ErrorCode::kCancelled, wire::ERROR_CANCELLED},
    {ErrorCode::kCorrupt, wire::ERROR_CORRUPT},
    {ErrorCode::kOutOfMemory, wire::ERROR_OUT_OF_MEMORY},
    {ErrorCode::kBusy, wire::ERROR_BUSY},
    {ErrorCode::kInternal, wire::ERROR_INTERNAL},
}};

inline constexpr WireNames<FinishReason, wire::FinishReason, 4> kWireFinishReasons = {{
    {FinishReason::kStop, wire::FINISH_STOP},
    {FinishReason::kLength, wire::FINISH_LENGTH},
    {FinishReason::kCancelled, wire::FINISH_CANCELLED},
    {FinishReason::kError, wire::FINISH_ERROR},
}};

inline constexpr WireNames<Pooling, wire::Pooling, 3> kWirePoolings = {{
    {Pooling::kNone, wire::POOLING_NONE},
    {Pooling::kLast, wire::POOLING_LAST},
    {Pooling::kMean, wire::POOLING_MEAN},
}};

inline constexpr WireNames<ControlCommand, wire::ControlCommand, 3> kWireControlCommands = {{
    {ControlCommand::kDrain, wire::CONTROL_DRAIN},
    {ControlCommand::kResetPrefixCache, wire::CONTROL_RESET_PREFIX_CACHE},
    {ControlCommand::kCheckIntegrity, wire::CONTROL_CHECK_INTEGRITY},
}};

template <class Ours, class Wire, size_t kSize>
[[nodiscard]] Wire to_wire(const WireNames<Ours, Wire, kSize>& names, Ours value) {
  for (const auto& [ours, theirs] : names) {
    if (ours == value) return theirs;
  }
  CHECK(false, "enum value {} has no number on the wire", static_cast<int>(value));
}

template <class Ours, class Wire, size_t kSize>
[[nodiscard]] std::optional<Ours> from_wire(const WireNames<Ours, Wire, kSize>& names, Wire value) {
  for (const auto& [ours, theirs] : names) {
    if (theirs == value) return ours;
  }
  return std::nullopt;
}

}  // namespace gale
