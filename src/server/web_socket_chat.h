#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "net/web_socket.h"
#include "server/generations.h"
#include "server/wire_formats.h"

namespace gale {

// Chats over one WebSocket. A text message is the body of a chat completion (streamed unless "stream" is false), with a
// "request_id" of the client's choice; answers are what the events of a stream would hold, each with that "request_id",
// then
// {"type":"done","request_id"}. {"type":"cancel","request_id"} stops one; closing stops all.
class WebSocketChat final : public WebSocketListener, public std::enable_shared_from_this<WebSocketChat> {
 public:
  struct Asking {
    std::string owner;                 // whose key it is
    bool is_logged = true;             // a line an answer
  };
  WebSocketChat(std::shared_ptr<WebSocket> socket, Asking asking, const WireFormats& formats, Generations& generations,
                const Pipeline& pipeline)
      : owner_(std::move(asking.owner)),
        is_logged_(asking.is_logged),
        formats_(formats),
        generations_(generations),
        pipeline_(pipeline),
        socket_(std::move(socket)) {}

  void on_message(std::string text) override;
  void on_close() override;

 private:
  class Answer;

  void take(std::string text);
  void begin(Json body);
  void cancel(const std::string& request_id);
  void send(const std::string& request_id, std::string_view object);
  void send_error(const Json& request_id, const Error& error, int retry_after_s);
  // Lets go of an answer that is over; not from within its session.
  void forget(const std::string& request_id);
  void forget_later(const std::string& request_id);

  const std::string owner_;
  const bool is_logged_;
  const WireFormats& formats_;
  Generations& generations_;
  const Pipeline& pipeline_;
  std::mutex mutex_;                                         // guards what follows
  std::shared_ptr<WebSocket> socket_;                        // shared with the I/O thread; null once it is closed
  std::map<std::string, std::shared_ptr<Answer>> answers_;   // shared with their sessions; by request id
};

}  // namespace gale
