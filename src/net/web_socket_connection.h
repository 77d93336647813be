#pragma once

#include <functional>
#include <memory>

#include "net/http.h"
#include "net/http_server.h"
#include "net/io_stream.h"
#include "net/web_socket.h"

// Internal to net.
namespace gale {

// A WebSocket as the I/O thread that owns it sees it.
class WebSocketPeer : public WebSocket {
 public:
  // Answers the upgrade and reads until the end. `on_gone` is called once, on the I/O thread, when the socket is
  // closed.
  virtual void start(std::shared_ptr<WebSocketListener> listener, std::function<void()> on_gone) = 0;
  virtual void cut() = 0;            // on the I/O thread: closes at once
  virtual void cut_if_lost() = 0;    // the same, if a call was lost for lack of memory: nothing else would go on
};

// `head` asks for the upgrade and was not answered yet; `context` runs the socket's handlers; `loop` is what owns it.
[[nodiscard]] std::shared_ptr<WebSocketPeer> make_web_socket_peer(
    std::variant<IoSocket, TlsSocket> stream, const RequestHead& head, const HttpServerConfig& config,
    boost::asio::io_context& context, std::shared_ptr<void> loop);

}  // namespace gale
