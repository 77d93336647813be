#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gale {

// Cuts a stream of bytes into frames: 4 bytes of length, little-endian, then as many bytes of content.
class FrameReader {
 public:
  explicit FrameReader(size_t max_frame_bytes) : max_frame_bytes_(max_frame_bytes) {}

  void append(std::string_view bytes) { buffer_.append(bytes); }
  // Moves what is complete to `frames`. kCorrupt for a length over the limit; the stream is then of no further use.
  [[nodiscard]] Status take_frames(std::vector<std::string>& frames);
  [[nodiscard]] bool is_between_frames() const { return buffer_.empty(); }

 private:
  const size_t max_frame_bytes_;
  std::string buffer_;
};

// Frames over a connected stream socket that never blocks. One thread may send while another receives.
class FramedSocket {
 public:
  // A peer that takes nothing for `patience` counts as gone.
  FramedSocket(UniqueFd fd, size_t max_frame_bytes, std::chrono::milliseconds patience);

  // kTooLarge leaves the connection as it was; kUnavailable means that it is over.
  [[nodiscard]] Status send(std::string_view content);
  // The frames that have arrived; waits up to `timeout` for bytes if there are none. What arrived before the peer went
  // is still handed out. kUnavailable: the peer is gone; kCorrupt: it sent nonsense.
  [[nodiscard]] Result<std::vector<std::string>> receive(std::chrono::milliseconds timeout);
  // Ends the connection for both sides; safe from any thread.
  void shut();

 private:
  [[nodiscard]] Status write_all(std::string_view bytes);
  [[nodiscard]] bool read_available();   // false: the end of the stream

  const UniqueFd fd_;
  const size_t max_frame_bytes_;
  const std::chrono::milliseconds patience_;
  std::mutex send_mutex_;
  std::atomic<bool> is_shut_ = false;
  FrameReader reader_;                   // of the receiving thread
  bool has_ended_ = false;               // of the receiving thread
};

}  // namespace gale
