#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace gale {

// An open WebSocket. Thread-safe; nothing here blocks. After the end all calls but run_later do nothing.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // A text message. A client that reads slower than the server's max_pending_bytes allows is cut.
  virtual void send(std::string_view text) = 0;
  virtual void close() = 0;
  // Runs the task on the socket's own I/O thread, after the present call there.
  virtual void run_later(std::function<void()> task) = 0;
};

// Who hears it. Called from the socket's I/O thread; must not block for long.
class WebSocketListener {
 public:
  virtual ~WebSocketListener() = default;
  virtual void on_message(std::string text) = 0;
  virtual void on_close() = 0;       // once, last
};

}  // namespace gale
