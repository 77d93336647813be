#include "bench/http_client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <thread>

#include "base/json.h"

namespace gale {
namespace {

constexpr size_t kMaxHeadBytes = size_t{64} << 10;
constexpr size_t kReadBytes = size_t{64} << 10;

template <class T>
bool read_number(std::string_view text, T& out, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size();
}

// The value of a header field in a head whose names may have any case; empty if it is not there.
std::string field_of(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const bool is_it = line.size() > name.size() && line[name.size()] == ':' &&
                       strncasecmp(line.data(), name.data(), name.size()) == 0;
    if (!is_it) continue;
    std::string_view value = line.substr(name.size() + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    return std::string(value);
  }
  return {};
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

}  // namespace

HttpClient::HttpClient(ServerUrl server, std::chrono::seconds timeout)
    : server_(std::move(server)), timeout_(timeout) {}

HttpClient::~HttpClient() { disconnect(); }

void HttpClient::disconnect() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
  unread_.clear();
}

Status HttpClient::connect() {
  const addrinfo wanted{.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int looked_up = getaddrinfo(server_.host.c_str(), std::to_string(server_.port).c_str(), &wanted, &found);
  if (looked_up != 0) return fail(ErrorCode::kUnavailable, "host {}: {}", server_.host, gai_strerror(looked_up));
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  int cause = ECONNREFUSED;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    socket_ = ::socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0);
    if (socket_ >= 0 && ::connect(socket_, address->ai_addr, address->ai_addrlen) == 0) break;
    cause = errno;
    disconnect();
  }
  if (socket_ < 0) {
    return fail(ErrorCode::kUnavailable, "nobody answers at {}:{}: {}", server_.host, server_.port,
                std::strerror(cause));
  }
  const timeval limit{.tv_sec = timeout_.count(), .tv_usec = 0};
  const int yes = 1;
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return {};
}

Status HttpClient::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail(ErrorCode::kUnavailable, "sending failed: {}", std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

Result<bool> HttpClient::read_more() {
  std::array<char, kReadBytes> buffer;
  while (true) {
    const ssize_t got = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return fail(ErrorCode::kDeadline, "nothing came for {} s", timeout_.count());
    }
    if (got < 0) return fail(ErrorCode::kUnavailable, "the connection broke: {}", std::strerror(errno));
    unread_.append(buffer.data(), static_cast<size_t>(got));
    return got > 0;
  }
}

Result<std::string> HttpClient::read_head() {
  size_t end = unread_.find("\r\n\r\n");
  while (end == std::string::npos) {
    if (unread_.size() > kMaxHeadBytes) return fail(ErrorCode::kUnavailable, "the answer's head does not end");
    GALE_ASSIGN(const bool is_open, read_more());
    if (!is_open) return fail(ErrorCode::kUnavailable, "the server closed the connection before it answered");
    end = unread_.find("\r\n\r\n");
  }
  std::string head = unread_.substr(0, end + 2);
  unread_.erase(0, end + 4);
  return head;
}

Status HttpClient::read_exactly(size_t size, const OnPiece& on_piece) {
  while (size > 0 && !is_cut_) {
    if (unread_.empty()) {
      GALE_ASSIGN(const bool is_open, read_more());
      if (!is_open) return fail(ErrorCode::kUnavailable, "the server closed the connection within its answer");
    }
    const size_t part = std::min(size, unread_.size());
    is_cut_ = !on_piece(std::string_view(unread_).substr(0, part));
    unread_.erase(0, part);
    size -= part;
  }
  return {};
}

Status HttpClient::read_chunks(const OnPiece& on_piece) {
  while (!is_cut_) {
    size_t end = unread_.find("\r\n");
    while (end == std::string::npos) {
      GALE_ASSIGN(const bool is_open, read_more());
      if (!is_open) return fail(ErrorCode::kUnavailable, "the server closed the connection within its answer");
      end = unread_.find("\r\n");
    }
    size_t size = 0;
    const std::string_view digits = std::string_view(unread_).substr(0, std::min(end, unread_.find(';')));
    if (!read_number(digits, size, 16)) return fail(ErrorCode::kUnavailable, "the answer is not chunked as it says");
    unread_.erase(0, end + 2);
    GALE_TRY(read_exactly(size, on_piece));
    if (is_cut_) break;
    GALE_TRY(read_exactly(2, [](std::string_view) { return true; }));   // the line's end; there are no trailers
    if (size == 0) break;
  }
  return {};
}

Status HttpClient::read_body(std::string_view head, const OnPiece& on_piece) {
  const std::string length = field_of(head, "content-length");
  size_t size = 0;
  if (!field_of(head, "transfer-encoding").empty()) return read_chunks(on_piece);
  if (!length.empty()) {
    if (!read_number(std::string_view(length), size))
      return fail(ErrorCode::kUnavailable, "Content-Length is '{}'", length);
    return read_exactly(size, on_piece);
  }
  for (bool is_open = true; is_open && !is_cut_;) {   // until the server closes
    GALE_TRY(read_exactly(unread_.size(), on_piece));
    GALE_ASSIGN(is_open, read_more());
  }
  return {};
}

Result<ClientResponse> HttpClient::stream(const ClientRequest& request, const OnPiece& on_piece) {
  const bool is_reused = socket_ >= 0;
  if (!is_reused) GALE_TRY(connect());
  const std::string key = request.api_key.empty() ? "" : fmt::format("Authorization: Bearer {}\r\n", request.api_key);
  const std::string type = request.body.empty() ? "" : "Content-Type: application/json\r\n";
  const Status sent = write_all(fmt::format("{} {}{} HTTP/1.1\r\nHost: {}:{}\r\n{}{}Content-Length: {}\r\n\r\n{}",
                                            request.method, request.from_root ? "" : server_.prefix, request.target,
                                            server_.host, server_.port, key, type, request.body.size(), request.body));
  Result<std::string> head = sent ? read_head() : Result<std::string>(tl::unexpect, sent.error());
  if (!head) {
    disconnect();
    // A kept connection may have been closed by the server meanwhile: that is no error yet.
    if (is_reused && head.error().code == ErrorCode::kUnavailable) return stream(request, on_piece);
    return tl::unexpected(head.error());
  }
  ClientResponse response;
  const size_t blank = head->find(' ');
  if (!head->starts_with("HTTP/1.") || !read_number(std::string_view(*head).substr(blank + 1, 3), response.status)) {
    disconnect();
    return fail(ErrorCode::kUnavailable, "{}:{} does not speak HTTP", server_.host, server_.port);
  }
  is_cut_ = false;
  const Status read = read_body(*head, response.status == 200 ? on_piece : [&](std::string_view piece) {
    response.body += piece;
    return true;
  });
  if (!read || is_cut_ || field_of(*head, "connection") == "close") disconnect();
  if (!read) return tl::unexpected(read.error());
  return response;
}

Result<ClientResponse> HttpClient::send(const ClientRequest& request) {
  std::string body;
  GALE_ASSIGN(ClientResponse response, stream(request, [&](std::string_view piece) {
    body += piece;
    return true;
  }));
  if (response.status == 200) response.body = std::move(body);
  return response;
}

bool EventReader::append(std::string_view bytes, const std::function<bool(std::string_view)>& on_data) {
  constexpr std::string_view kData = "data: ";
  pending_ += bytes;
  size_t begin = 0;
  for (size_t end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n', begin)) {
    std::string_view line = std::string_view(pending_).substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with(kData) && !on_data(line.substr(kData.size()))) return false;
  }
  pending_.erase(0, begin);
  return true;
}

Status wait_until_healthy(const ServerUrl& server, std::chrono::seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  HttpClient client(server, std::chrono::seconds(5));
  while (true) {
    const Result<ClientResponse> response = client.send({.target = "/health", .from_root = true});
    if (response && response->status == 200) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::kUnavailable, "the server is not ready: {}",
                  response ? error_text(*response) : response.error().message);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Result<std::string> first_model(HttpClient& client, const std::string& api_key) {
  GALE_ASSIGN(const ClientResponse response, client.send({.target = "/models", .api_key = api_key}));
  if (response.status != 200) {
    return fail(ErrorCode::kUnavailable, "asking for the models: status {}: {}", response.status, error_text(response));
  }
  const Result<Json> list = parse_json(response.body);
  const bool has_name = list && list->contains("data") && !(*list)["data"].empty() && (*list)["data"][0].contains("id");
  if (!has_name) return fail(ErrorCode::kUnavailable, "the server lists no models");
  return (*list)["data"][0]["id"].get<std::string>();
}

std::string error_text(const ClientResponse& response) {
  const Result<Json> body = parse_json(response.body);
  if (body && body->is_object() && body->contains("error") && (*body)["error"].is_object()) {
    return (*body)["error"].value("message", "");
  }
  constexpr size_t kShown = 200;
  return response.body.empty() ? fmt::format("status {}", response.status) : response.body.substr(0, kShown);
}

}  // namespace gale
