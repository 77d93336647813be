#include "net/web_socket.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "net/http_server.h"
#include "net/test_client.h"

namespace gale {
namespace {

// Sends back what it hears; "flood" is answered with more than a client that does not read can have.
class Listener final : public WebSocketListener {
 public:
  explicit Listener(std::shared_ptr<WebSocket> socket) : socket_(std::move(socket)) {}
  void on_message(std::string text) override {
    if (text == "close") return socket_->close();
    if (text != "flood") return socket_->send(text);
    const std::string block(1 << 20, 'x');
    for (int i = 0; i < 64; ++i) socket_->send(block);
  }
  void on_close() override {
    socket_.reset();
    is_closed = true;
  }
  std::atomic<bool> is_closed{false};

 private:
  std::shared_ptr<WebSocket> socket_;
};

class SocketHandler final : public HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const RequestHead&) override { return std::nullopt; }
  void handle(HttpRequest, std::shared_ptr<Exchange> exchange) override { exchange->reply({200, {}, "plain"}); }
  bool takes_web_socket(const RequestHead& head) override { return head.path == "/socket"; }
  std::shared_ptr<WebSocketListener> open_web_socket(const RequestHead&, std::shared_ptr<WebSocket> socket) override {
    listener = std::make_shared<Listener>(std::move(socket));
    return listener;
  }
  HttpResponse protocol_error(const HttpError& error) override { return {error.status, {}, error.message}; }
  std::shared_ptr<Listener> listener;
};

std::string upgrade(const std::string& path, const std::string& more = "") {
  return "GET " + path +
         " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
         more + "\r\n";
}

// A short text frame as clients send it, masked with zeros.
std::string text_frame(const std::string& text) {
  return std::string("\x81") + static_cast<char>(0x80 | text.size()) + std::string(4, '\0') + text;
}

class WebSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = HttpServer::start({.host = "127.0.0.1", .port = 0, .max_pending_bytes = size_t{4} << 20}, handler_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
  }
  bool is_closed() const {
    for (int i = 0; i < 6000 && !handler_.listener->is_closed; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return handler_.listener->is_closed;
  }
  SocketHandler handler_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(WebSocketTest, answers_the_handshake_and_echoes) {
  TestClient client(server_->port());
  client.send(upgrade("/socket", "Sec-WebSocket-Protocol: gale, gale-key.x\r\n"));
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_NE(head.find("101 "), std::string::npos) << head;
  const char* const accepted = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";   // the answer of RFC 6455 to its own key
  EXPECT_NE(head.find(accepted), std::string::npos) << head;
  EXPECT_NE(head.find("Protocol: gale\r\n"), std::string::npos) << head;
  client.send(text_frame("hello"));
  EXPECT_EQ(client.read_until("hello"), "\x81\x05hello");
  EXPECT_EQ(server_->num_connections(), 1);
}

TEST_F(WebSocketTest, is_for_routes_that_take_one) {
  TestClient client(server_->port());
  EXPECT_NE(client.ask(upgrade("/other")).find("plain"), std::string::npos);
}

TEST_F(WebSocketTest, hears_of_the_end_whoever_ends_it) {
  {
    TestClient client(server_->port());
    client.send(upgrade("/socket"));
    (void)client.read_until("\r\n\r\n");
  }
  EXPECT_TRUE(is_closed());
  TestClient second(server_->port());
  second.send(upgrade("/socket"));
  (void)second.read_until("\r\n\r\n");
  second.send(text_frame("close"));
  EXPECT_EQ(second.read_until("\x03\xe8"), "\x88\x02\x03\xe8");   // a close frame, 1000: normal
  second.close();
  EXPECT_TRUE(is_closed());
  TestClient third(server_->port());
  third.send(upgrade("/socket"));
  (void)third.read_until("\r\n\r\n");
  server_.reset();
  EXPECT_TRUE(handler_.listener->is_closed);
}

TEST_F(WebSocketTest, a_client_that_does_not_read_is_cut) {
  TestClient client(server_->port(), 4096);
  client.send(upgrade("/socket"));
  (void)client.read_until("\r\n\r\n");
  client.send(text_frame("flood"));
  EXPECT_TRUE(is_closed());
  EXPECT_TRUE(eventually([this] { return server_->num_connections() == 0; }));
}

TEST_F(WebSocketTest, a_broken_handshake_is_refused) {
  TestClient client(server_->port());
  client.send("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_NE(client.read_until("\r\n").find("400"), std::string::npos);
}

}  // namespace
}  // namespace gale
