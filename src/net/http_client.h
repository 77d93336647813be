#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/client_socket.h"
#include "net/http.h"
#include "net/server_url.h"

namespace gale {

struct ClientResponse {
  int status = 0;
  HttpFields fields = {};
  std::string body = {};   // empty if it was handed out in pieces
  // The first field of that name, whatever its case; empty if there is none.
  [[nodiscard]] std::string field(std::string_view name) const {
    return std::string(find_field(fields, name).value_or(""));
  }
};

struct ClientRequest {
  std::string method = "GET";
  std::string target;   // below the prefix, or from the root if `from_root`
  std::string body;     // JSON, or empty
  std::string api_key;
  bool from_root = false;
  HttpFields fields = {};   // further ones
  // Before the body of a good answer; an error ends the request with it.
  std::function<Status(const ClientResponse&)> on_head = nullptr;
};

// A blocking HTTP/1.1 client for one thread: keeps its connection, opens a new one where the server closed it. Follows
// no redirect. Errors: kUnavailable where nobody listens, the certificate is not trusted or the connection broke,
// kDeadline where nothing came for `timeout`.
class HttpClient {
 public:
  explicit HttpClient(ServerUrl server, std::chrono::seconds timeout = std::chrono::seconds(600));
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  [[nodiscard]] Result<ClientResponse> send(const ClientRequest& request);
  // Hands the body of a good answer (200, 206) to `on_piece` as it arrives; of any other status it is in the response.
  // If `on_piece` says false the connection is cut and what came so far counts as the whole.
  using OnPiece = std::function<bool(std::string_view)>;
  [[nodiscard]] Result<ClientResponse> stream(const ClientRequest& request, const OnPiece& on_piece);

 private:
  void disconnect();
  [[nodiscard]] Status send_request(const ClientRequest& request);
  [[nodiscard]] Result<bool> read_more();   // false: the server closed
  [[nodiscard]] Result<ClientResponse> read_head();
  [[nodiscard]] Status read_body(const ClientResponse& response, const OnPiece& on_piece);
  [[nodiscard]] Status read_chunks(const OnPiece& on_piece);
  [[nodiscard]] Status read_exactly(uint64_t size, const OnPiece& on_piece);

  ServerUrl server_;
  std::chrono::seconds timeout_;
  std::optional<ClientSocket> socket_;
  std::string unread_;
  bool is_cut_ = false;
};

// The server-sent events of a stream: what stands after "data: ", one event at a time.
class EventReader {
 public:
  // Calls `on_data` for each event that is complete; events end with an empty line. False as soon as `on_data` is.
  bool append(std::string_view bytes, const std::function<bool(std::string_view)>& on_data);

 private:
  std::string pending_;
};

}   // namespace gale
