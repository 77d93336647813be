#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

namespace gale {

// Whether it holds within this time; asked every ten milliseconds.
inline bool eventually(const std::function<bool()>& holds, std::chrono::seconds patience = std::chrono::seconds(60)) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

// For tests: a loopback connection that sends bytes as they are, however wrong.
class TestClient {
 public:
  explicit TestClient(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const timeval limit{.tv_sec = 60, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;
  ~TestClient() { close(); }

  [[nodiscard]] bool is_connected() const { return is_connected_; }
  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;   // the server may have closed: what it said is still to be read
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // All that comes until `end` has come, the server closes, or 60 s are over.
  std::string read_until(std::string_view end) {
    while (received_.find(end) == std::string::npos && read_some()) {}
    const size_t found = received_.find(end);
    const size_t length = found == std::string::npos ? received_.size() : found + end.size();
    std::string out = received_.substr(0, length);
    received_.erase(0, length);
    return out;
  }
  // Everything up to the end of the connection; sets `is_closed()` if that came in time.
  std::string read_all() {
    while (read_some()) {}
    return std::move(received_);
  }
  [[nodiscard]] bool is_closed() const { return is_closed_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // One request on a kept connection; the whole answer, which must have a Content-Length.
  std::string ask(std::string_view request) {
    send(request);
    std::string answer = read_until("\r\n\r\n");
    const size_t field = answer.find("Content-Length: ");
    const size_t length = field == std::string::npos ? 0 : std::stoul(answer.substr(field + 16));
    while (received_.size() < length && read_some()) {}
    answer += received_.substr(0, length);
    received_.erase(0, length);
    return answer;
  }

 private:
  bool read_some() {
    char bytes[4096];
    const ssize_t got = ::recv(fd_, bytes, sizeof bytes, 0);
    if (got > 0) received_.append(bytes, static_cast<size_t>(got));
    else is_closed_ = got == 0 || errno == ECONNRESET;
    return got > 0;
  }

  int fd_;
  bool is_connected_ = false;
  bool is_closed_ = false;
  std::string received_;
};

}  // namespace gale
