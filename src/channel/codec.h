#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "request/messages.h"

namespace gale {

// Peers of another version refuse each other: see channel.proto for when it rises.
inline constexpr uint32_t kProtocolVersion = 3;

// The largest message either end sends or accepts: a prompt of a million tokens with room to spare.
inline constexpr size_t kMaxMessageBytes = size_t{64} << 20;

// The first message of either end.
struct Hello {
  uint32_t protocol_version = kProtocolVersion;
  std::string build_id;
  bool operator==(const Hello&) const = default;
};
// A kind of message that a newer build of this protocol version added; to be passed over.
struct UnknownMessage {
  bool operator==(const UnknownMessage&) const = default;
};
using EngineWire = std::variant<Hello, Submit, Cancel, Control, Vocabulary, UnknownMessage>;
using FrontWire = std::variant<Hello, Ready, StepOutput, Stats, Fault, UnknownMessage>;

// One message as bytes, without framing. Never fails; whoever sends compares with kMaxMessageBytes.
[[nodiscard]] std::string encode(const ToEngine& message);
[[nodiscard]] std::string encode(const ToFront& message);
[[nodiscard]] std::string encode_hello_to_engine(const Hello& hello);
[[nodiscard]] std::string encode_hello_to_front(const Hello& hello);

// kCorrupt for bytes that are no message, and for values no peer may send: a Submit without prompt, negative token ids,
// counts and lengths, unknown enum values, sampling values that are not finite.
[[nodiscard]] Result<EngineWire> decode_to_engine(std::string_view bytes);
[[nodiscard]] Result<FrontWire> decode_to_front(std::string_view bytes);

}  // namespace gale
