#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/server_url.h"

namespace gale {

struct ClientRequest {
  std::string method = "GET";
  std::string target;                  // below the prefix, or from the root if `from_root`
  std::string body;                    // JSON, or empty
  std::string api_key;
  bool from_root = false;
};
struct ClientResponse {
  int status = 0;
  std::string body;                    // empty if it was handed out in pieces
};

// A blocking HTTP/1.1 client for one thread: keeps its connection, opens a new one where the server closed it. Plain
// TCP. Errors: kUnavailable where nobody listens or the connection broke, kDeadline where nothing came for `timeout`.
class HttpClient {
 public:
  explicit HttpClient(ServerUrl server, std::chrono::seconds timeout = std::chrono::seconds(600));
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  [[nodiscard]] Result<ClientResponse> send(const ClientRequest& request);
  // Hands the body of a 200 to `on_piece` as it arrives; of any other status it is in the response. If `on_piece` says
  // false the connection is cut and what came so far counts as the whole.
  using OnPiece = std::function<bool(std::string_view)>;
  [[nodiscard]] Result<ClientResponse> stream(const ClientRequest& request, const OnPiece& on_piece);

 private:
  [[nodiscard]] Status connect();
  void disconnect();
  [[nodiscard]] Status write_all(std::string_view bytes);
  [[nodiscard]] Result<bool> read_more();                     // false: the server closed
  [[nodiscard]] Result<std::string> read_head();
  [[nodiscard]] Status read_body(std::string_view head, const OnPiece& on_piece);
  [[nodiscard]] Status read_chunks(const OnPiece& on_piece);
  [[nodiscard]] Status read_exactly(size_t size, const OnPiece& on_piece);

  ServerUrl server_;
  std::chrono::seconds timeout_;
  int socket_ = -1;
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

// Waits until /health answers 200. kUnavailable with the last trouble after `timeout`.
[[nodiscard]] Status wait_until_healthy(const ServerUrl& server, std::chrono::seconds timeout);

// The first name that /v1/models lists. `server.prefix` is "/v1".
[[nodiscard]] Result<std::string> first_model(HttpClient& client, const std::string& api_key);

// What an error body says, or its beginning where it is no JSON of ours.
[[nodiscard]] std::string error_text(const ClientResponse& response);

}  // namespace gale
