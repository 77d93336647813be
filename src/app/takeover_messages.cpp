#include "app/takeover_messages.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace gale {
namespace {

constexpr size_t kMaxMessageBytes = 4096;

}  // namespace

Status send_takeover(int socket, const Json& body, const std::vector<int>& descriptors) {
  std::string text = dump_json(body);
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxSocketsInMessage)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const size_t bytes = descriptors.size() * sizeof(int);
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(header), descriptors.data(), bytes);
  }
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return {};
  return fail(ErrorCode::kUnavailable, "the other gale does not listen: {}", std::strerror(errno));
}

Result<TakeoverMessage> receive_takeover(int socket, std::chrono::milliseconds timeout) {
  pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(timeout.count())) == 0)
    return fail(ErrorCode::kDeadline, "nothing came within {} ms", timeout.count());
  std::array<char, kMaxMessageBytes> text{};
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxSocketsInMessage)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t length = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  // An end that closed before it read everything is told first; what it said is still there.
  if (length < 0 && errno == ECONNRESET) length = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return fail(ErrorCode::kDeadline, "nothing came");
  if (length <= 0) return fail(ErrorCode::kUnavailable, "the other gale has left");
  TakeoverMessage out;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      out.descriptors.emplace_back(fd);
    }
  }
  Result<Json> body = parse_json(std::string_view(text.data(), static_cast<size_t>(length)));
  const bool is_whole = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  if (!body || !body->is_object() || !is_whole)
    return fail(ErrorCode::kCorrupt, "what the other end says is no message");
  out.body = std::move(*body);
  return out;
}

int64_t number_in(const Json& body, const char* key, int64_t fallback) {
  const auto found = body.find(key);
  return found != body.end() && found->is_number_integer() ? found->get<int64_t>() : fallback;
}

std::string text_in(const Json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool flag_in(const Json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_boolean() && found->get<bool>();
}

Result<Peer> peer_of(int socket) {
  ucred known{};
  socklen_t length = sizeof known;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &known, &length) != 0)
    return fail(ErrorCode::kForbidden, "who is at the other end is not known: {}", std::strerror(errno));
  return Peer{.pid = known.pid, .uid = known.uid};
}

std::string runtime_dir(const std::string& given) {
  if (!given.empty()) return given;
  const uid_t uid = ::geteuid();
  if (uid == 0) return "/run/gale";
  const std::string of_login = fmt::format("/run/user/{}", uid);
  std::error_code trouble;
  if (std::filesystem::is_directory(of_login, trouble)) return of_login + "/gale";
  return fmt::format("/tmp/gale-{}", uid);
}

std::string takeover_path(const std::string& dir, int port) { return fmt::format("{}/serve-{}.sock", dir, port); }

Status check_runtime_dir(const std::string& dir) {
  struct stat found {};
  if (::lstat(dir.c_str(), &found) != 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kForbidden;
    return fail(code, "runtime folder {}: {}", dir, std::strerror(errno));
  }
  const bool is_ours = S_ISDIR(found.st_mode) && found.st_uid == ::geteuid() && (found.st_mode & 022) == 0;
  if (is_ours) return {};
  return fail(ErrorCode::kForbidden,
              "runtime folder {} belongs to user {} with mode {:o}: expected a folder of user {} that nobody else may "
              "write in; name another with --runtime-dir",
              dir, found.st_uid, found.st_mode & 07777, ::geteuid());
}

}  // namespace gale
