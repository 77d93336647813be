// What front and engine send each other: frames, and the messages in them.
#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "channel/codec.h"
#include "channel/framed_socket.h"
#include "fuzz_targets.h"

namespace gale {
namespace {

constexpr size_t kMaxFrame = 1 << 16;

std::vector<std::string> frames_of(std::string_view bytes, size_t piece, bool& is_corrupt) {
  FrameReader reader(kMaxFrame);
  std::vector<std::string> frames;
  is_corrupt = false;
  for (size_t at = 0; at < bytes.size() && !is_corrupt; at += piece) {
    reader.append(bytes.substr(at, piece));
    is_corrupt = !reader.take_frames(frames);
  }
  return frames;
}

// A message that was accepted is the same after one more trip.
template <class Sendable, class Wire, class Decode>
void check_trip(const Result<Wire>& message, Decode decode) {
  if (!message) return fuzz_check_message(message.error().message);
  std::visit(
      [&](const auto& sent) {
        if constexpr (std::is_constructible_v<Sendable, decltype(sent)>) {
          const Result<Wire> again = decode(encode(Sendable(sent)));
          fuzz_check(again.has_value(), "a message that was accepted can be sent on");
          fuzz_check(*again == *message, "a message is the same after one more trip");
        }
      },
      *message);
}

void check_message(std::string_view bytes) {
  check_trip<ToEngine>(decode_to_engine(bytes), decode_to_engine);
  check_trip<ToFront>(decode_to_front(bytes), decode_to_front);
}

}  // namespace

void fuzz_channel(std::string_view input) {
  bool whole_is_corrupt = false, pieces_are_corrupt = false;
  const std::vector<std::string> whole = frames_of(input, std::max<size_t>(input.size(), 1), whole_is_corrupt);
  fuzz_check(frames_of(input, 3, pieces_are_corrupt) == whole, "pieces of a frame make no difference");
  fuzz_check(whole_is_corrupt == pieces_are_corrupt, "nonsense is nonsense however it is cut");
  for (const std::string& frame : whole) check_message(frame);
  check_message(input);   // most inputs are no frames
}

}  // namespace gale
