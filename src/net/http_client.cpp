#include "net/http_client.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace gale {
namespace {

constexpr size_t kMaxHeadBytes = size_t{64} << 10;
constexpr size_t kReadBytes = size_t{64} << 10;

template <class T>
bool read_number(std::string_view text, T& out, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_good(int status) { return status == 200 || status == 206; }

HttpFields fields_of(std::string_view lines) {
  HttpFields out;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find("\r\n"), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 2, lines.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    out.emplace_back(line.substr(0, colon), trim_blanks(line.substr(colon + 1)));
  }
  return out;
}

std::string wire_form(const ServerUrl& server, const ClientRequest& request) {
  const std::string host = bracketed(server.host);
  const bool asks_proxy = server.proxy && !server.tls;   // which then goes and asks the server
  const std::string origin = asks_proxy ? fmt::format("http://{}:{}", host, server.port) : "";
  std::string out = fmt::format("{} {}{}{} HTTP/1.1\r\nHost: {}:{}\r\n", request.method, origin,
                                request.from_root ? "" : server.prefix, request.target, host, server.port);
  const auto append = [&out](std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(out), "{}: {}\r\n", name, value);
  };
  if (asks_proxy && !server.proxy->authorization.empty()) {
    append("Proxy-Authorization", server.proxy->authorization);
  }
  if (!request.api_key.empty()) append("Authorization", "Bearer " + request.api_key);
  if (!request.body.empty()) append("Content-Type", "application/json");
  if (request.method == "POST" || !request.body.empty()) append("Content-Length", std::to_string(request.body.size()));
  for (const auto& [name, value] : request.fields) append(name, value);
  return out.append("\r\n").append(request.body);
}

}   // namespace

HttpClient::HttpClient(ServerUrl server, std::chrono::seconds timeout)
    : server_(std::move(server)), timeout_(timeout) {}

void HttpClient::disconnect() {
  socket_.reset();
  unread_.clear();
}

Result<bool> HttpClient::read_more() {
  std::array<char, kReadBytes> buffer;
  GALE_ASSIGN(const size_t got, socket_->read_some(buffer));
  unread_.append(buffer.data(), got);
  return got > 0;
}

Result<ClientResponse> HttpClient::read_head() {
  size_t end = unread_.find("\r\n\r\n");
  while (end == std::string::npos) {
    if (unread_.size() > kMaxHeadBytes) return fail(ErrorCode::kUnavailable, "the answer's head does not end");
    GALE_ASSIGN(const bool is_open, read_more());
    if (!is_open) return fail(ErrorCode::kUnavailable, "the server closed the connection before it answered");
    end = unread_.find("\r\n\r\n");
  }
  const std::string head = unread_.substr(0, end + 2);
  unread_.erase(0, end + 4);
  ClientResponse out;
  const size_t blank = head.find(' ');
  if (!head.starts_with("HTTP/1.") || !read_number(std::string_view(head).substr(blank + 1, 3), out.status))
    return fail(ErrorCode::kCorrupt, "{}:{} does not speak HTTP", server_.host, server_.port);
  out.fields = fields_of(std::string_view(head).substr(head.find("\r\n") + 2));
  return out;
}

Status HttpClient::read_exactly(uint64_t size, const OnPiece& on_piece) {
  while (size > 0 && !is_cut_) {
    if (unread_.empty()) {
      GALE_ASSIGN(const bool is_open, read_more());
      if (!is_open) return fail(ErrorCode::kUnavailable, "the server closed the connection within its answer");
    }
    const size_t part = static_cast<size_t>(std::min<uint64_t>(size, unread_.size()));
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
      if (unread_.size() > kMaxHeadBytes) return fail(ErrorCode::kUnavailable, "the answer is not chunked as it says");
      GALE_ASSIGN(const bool is_open, read_more());
      if (!is_open) return fail(ErrorCode::kUnavailable, "the server closed the connection within its answer");
      end = unread_.find("\r\n");
    }
    uint64_t size = 0;
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

Status HttpClient::read_body(const ClientResponse& response, const OnPiece& on_piece) {
  if (response.status == 204 || response.status == 304) return {};
  const std::string length = response.field("content-length");
  if (!response.field("transfer-encoding").empty()) return read_chunks(on_piece);
  if (!length.empty()) {
    uint64_t size = 0;
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

Status HttpClient::send_request(const ClientRequest& request) {
  if (!socket_) {
    GALE_ASSIGN(socket_, ClientSocket::connect(server_, timeout_));
  }
  return socket_->write_all(wire_form(server_, request));
}

Result<ClientResponse> HttpClient::stream(const ClientRequest& request, const OnPiece& on_piece) {
  const bool is_reused = socket_.has_value();
  const Status sent = send_request(request);
  Result<ClientResponse> response = sent ? read_head() : Result<ClientResponse>(tl::unexpect, sent.error());
  if (!response) {
    disconnect();
    // A kept connection may have been closed by the server meanwhile: that is no error yet.
    if (is_reused && response.error().code == ErrorCode::kUnavailable) return stream(request, on_piece);
    if (response.error().code == ErrorCode::kCorrupt) response.error().code = ErrorCode::kUnavailable;
    return response;
  }
  is_cut_ = false;
  std::string body;
  Status read;
  if (is_good(response->status) && request.on_head) read = request.on_head(*response);
  if (read && request.method != "HEAD") {
    read = read_body(
        *response, is_good(response->status) ? on_piece : [&](std::string_view piece) {
          body += piece;
          return true;
        });
  }
  response->body = std::move(body);
  if (!read || is_cut_ || equal_ignoring_case(response->field("connection"), "close")) disconnect();
  if (!read) return tl::unexpected(read.error());
  return response;
}

Result<ClientResponse> HttpClient::send(const ClientRequest& request) {
  std::string body;
  GALE_ASSIGN(ClientResponse response, stream(request, [&](std::string_view piece) {
                body += piece;
                return true;
              }));
  if (is_good(response.status)) response.body = std::move(body);
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

}   // namespace gale
