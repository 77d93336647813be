#include "channel/framed_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/fault_point.h"

namespace gale {
namespace {

constexpr size_t kHeaderBytes = 4;
// Read at most this much before the frames are handed on, so that a fast peer cannot keep us reading.
constexpr size_t kMaxReadAhead = size_t{16} << 20;

tl::unexpected<Error> gone(std::string_view what) { return fail(ErrorCode::kUnavailable, "channel: {}", what); }

std::string frame_header(size_t num_bytes) {
  std::string header(kHeaderBytes, '\0');
  for (size_t i = 0; i < kHeaderBytes; ++i) header[i] = static_cast<char>((num_bytes >> (8 * i)) & 0xFF);
  return header;
}

size_t frame_length(std::string_view header) {
  size_t length = 0;
  for (size_t i = 0; i < kHeaderBytes; ++i) length |= static_cast<size_t>(static_cast<uint8_t>(header[i])) << (8 * i);
  return length;
}

// True if `events` came within `timeout`. An interrupted wait counts as time over: callers wait again anyway.
bool wait_for(int fd, short events, std::chrono::milliseconds timeout) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return ::poll(&entry, 1, static_cast<int>(timeout.count())) > 0;
}

}  // namespace

Status FrameReader::take_frames(std::vector<std::string>& frames) {
  size_t begin = 0;
  while (buffer_.size() - begin >= kHeaderBytes) {
    const size_t length = frame_length(std::string_view(buffer_).substr(begin, kHeaderBytes));
    if (length > max_frame_bytes_) {
      return fail(ErrorCode::kCorrupt, "channel: a frame of {} bytes is over the limit of {}", length,
                  max_frame_bytes_);
    }
    if (buffer_.size() - begin - kHeaderBytes < length) break;
    frames.push_back(buffer_.substr(begin + kHeaderBytes, length));
    begin += kHeaderBytes + length;
  }
  buffer_.erase(0, begin);
  return {};
}

FramedSocket::FramedSocket(UniqueFd fd, size_t max_frame_bytes, std::chrono::milliseconds patience)
    : fd_(std::move(fd)), max_frame_bytes_(max_frame_bytes), patience_(patience), reader_(max_frame_bytes) {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK) != 0) shut();
}

Status FramedSocket::send(std::string_view content) {
  if (content.size() > max_frame_bytes_) {
    return fail(ErrorCode::kTooLarge, "channel: a message of {} bytes is over the limit of {}", content.size(),
                max_frame_bytes_);
  }
  std::string frame = frame_header(content.size());
  frame.append(content);
  std::lock_guard lock(send_mutex_);
  Status sent = write_all(frame);
  if (!sent) shut();   // a frame cut in the middle leaves nothing that could follow
  return sent;
}

Status FramedSocket::write_all(std::string_view bytes) {
  using std::chrono::steady_clock;
  auto last_progress = steady_clock::now();
  while (!bytes.empty()) {
    if (is_shut_) return gone("the connection has ended");
    const size_t num_bytes = fault_happens("channel.short_write") ? 1 : bytes.size();
    ssize_t written = -1;
    if (fault_happens("channel.interrupted")) errno = EINTR;
    else if (fault_happens("channel.write")) errno = ECONNRESET;
    else written = ::send(fd_.get(), bytes.data(), num_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written > 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
      last_progress = steady_clock::now();
      continue;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return gone("the peer has gone");
    const auto waited = steady_clock::now() - last_progress;
    if (waited >= patience_) return gone("the peer does not read");
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(patience_ - waited);
    wait_for(fd_.get(), POLLOUT, left);
  }
  return {};
}

bool FramedSocket::read_available() {
  std::array<char, 65536> chunk;
  for (size_t total = 0; total < kMaxReadAhead;) {
    ssize_t got = ::recv(fd_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0 && fault_happens("channel.read")) got = (errno = ECONNRESET, -1);
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    reader_.append({chunk.data(), static_cast<size_t>(got)});
    total += static_cast<size_t>(got);
  }
  return true;
}

Result<std::vector<std::string>> FramedSocket::receive(std::chrono::milliseconds timeout) {
  std::vector<std::string> frames;
  if (!has_ended_ && wait_for(fd_.get(), POLLIN, timeout)) has_ended_ = !read_available();
  GALE_TRY(reader_.take_frames(frames));
  if (frames.empty() && has_ended_) {
    return gone(reader_.is_between_frames() ? "the peer has gone" : "the peer has gone in the middle of a message");
  }
  return frames;
}

void FramedSocket::shut() {
  is_shut_ = true;
  ::shutdown(fd_.get(), SHUT_RDWR);
}

}  // namespace gale
