#include "net/http_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "net/test_client.h"

namespace gale {
namespace {

using std::chrono::milliseconds;

// Answers POST with its body; /hold and /stream leave the exchange to the test; refuses /no before the body.
class Echo final : public HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const RequestHead& head) override {
    if (head.path == "/no") return HttpResponse{404, {}, "no"};
    return std::nullopt;
  }
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override {
    if (request.head.path != "/hold" && request.head.path != "/stream") return exchange->reply({200, {}, request.body});
    exchange->on_end([this](ExchangeEnd how) { last_end = static_cast<int>(how); });
    if (request.head.path == "/stream")
      exchange->start_stream({200, {{"Content-Type", "text/event-stream"}}, ""}, std::string(kCommentPing));
    const std::lock_guard lock(mutex);
    held = std::move(exchange);
  }
  HttpResponse protocol_error(const HttpError& error) override { return {error.status, {}, error.message}; }

  std::shared_ptr<Exchange> take_held() {
    eventually([this] { const std::lock_guard lock(mutex); return held != nullptr; });
    const std::lock_guard lock(mutex);
    return held;
  }
  [[nodiscard]] bool ended(ExchangeEnd how) const { return last_end == static_cast<int>(how); }
  std::mutex mutex;
  std::shared_ptr<Exchange> held;
  std::atomic<int> last_end{-1};
};

class HttpServerTest : public testing::Test {
 protected:
  void start(HttpServerConfig config = {}) {
    config.host = "127.0.0.1";
    config.port = 0;
    auto started = HttpServer::start(config, handler_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
  }
  Echo handler_;
  std::unique_ptr<HttpServer> server_;
};

const std::string kGetHold = "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";
const std::string kGetStream = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";

TEST_F(HttpServerTest, answers_pipelined_requests_in_order) {
  start();
  TestClient client(server_->port());
  client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\noneGET /no HTTP/1.1\r\nHost: x\r\n\r\n"
              "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntwo");
  const std::string all = client.read_all();
  EXPECT_TRUE(client.is_closed());
  const size_t one = all.find("\r\n\r\none");
  const size_t no = all.find(" 404 ");
  const size_t two = all.find("\r\n\r\ntwo");
  EXPECT_TRUE(one < no && no < two && two != std::string::npos) << all;
}

TEST_F(HttpServerTest, a_refused_body_is_not_read_and_the_answer_arrives) {
  start();
  struct Case { std::string path, length, status; };
  for (const Case& c : {Case{"/no", "50000000", " 404 "}, Case{"/large", "99999999999", " 413 "}}) {
    TestClient client(server_->port());
    client.send("POST " + c.path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + c.length + "\r\n\r\n");
    for (int i = 0; i < 20; ++i) client.send(std::string(10000, 'x'));
    const std::string answer = client.read_until("\r\n\r\n");
    EXPECT_NE(answer.find(c.status), std::string::npos) << answer;
    EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  }
}

TEST_F(HttpServerTest, says_continue_to_those_who_ask) {
  start();
  TestClient client(server_->port());
  client.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_NE(client.ask("hi").find("\r\n\r\nhi"), std::string::npos);
  TestClient refused(server_->port());
  refused.send("POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(refused.read_until("\r\n").find("HTTP/1.1 404"), 0U);
}

TEST_F(HttpServerTest, notices_a_client_that_leaves_while_its_answer_is_computed) {
  start();
  for (const std::string& request : {kGetHold, kGetStream}) {
    handler_.last_end = -1;
    handler_.held.reset();
    TestClient client(server_->port());
    client.send(request);
    const auto exchange = handler_.take_held();
    ASSERT_NE(exchange, nullptr);
    client.close();
    EXPECT_TRUE(eventually([&] { return handler_.ended(ExchangeEnd::kClientGone); }));
    exchange->send("too late");
    exchange->finish();
  }
  EXPECT_TRUE(eventually([&] { return server_->num_connections() == 0; }));
  EXPECT_EQ(server_->num_exchanges(), 0);
}

TEST_F(HttpServerTest, streams_from_another_thread_and_pings_when_silent) {
  start({.ping_interval = milliseconds(100)});
  TestClient client(server_->port());
  client.send(kGetStream);
  const auto exchange = handler_.take_held();
  ASSERT_NE(exchange, nullptr);
  EXPECT_NE(client.read_until("\r\n\r\n").find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(client.read_until("\n\n").find(": ping\n\n"), std::string::npos);
  std::thread sender([&] {
    for (int i = 0; i < 100; ++i) exchange->send("data: x\n\n");
    exchange->finish();
  });
  const std::string rest = client.read_until("0\r\n\r\n");
  sender.join();
  size_t num_frames = 0;
  for (size_t at = rest.find("data: x\n\n"); at != std::string::npos; at = rest.find("data: x\n\n", at + 1))
    ++num_frames;
  EXPECT_EQ(num_frames, 100U);
  EXPECT_TRUE(eventually([&] { return handler_.ended(ExchangeEnd::kSent); }));
  EXPECT_NE(client.ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").find("\r\n\r\nhi"),
            std::string::npos);
}

TEST_F(HttpServerTest, cuts_a_reader_that_is_too_slow) {
  start({.max_pending_bytes = 100'000});
  TestClient client(server_->port(), 4096);
  client.send(kGetStream);
  const auto exchange = handler_.take_held();
  ASSERT_NE(exchange, nullptr);
  const std::string frame(10'000, 'x');
  EXPECT_TRUE(eventually([&] {
    for (int i = 0; i < 5; ++i) exchange->send(frame);
    return handler_.ended(ExchangeEnd::kSlowReader);
  }));
}

TEST_F(HttpServerTest, closes_slow_heads_slow_bodies_and_idle_connections) {
  // Until a client begins nothing but the last counts: a busy machine may be slow to do it.
  start({.body_grace = milliseconds(200), .header_timeout = milliseconds(200), .idle_timeout = milliseconds(5000)});
  TestClient slow_head(server_->port());
  slow_head.send("GET / HTTP/1.1\r\nHost:");
  TestClient slow_body(server_->port());
  slow_body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
  TestClient idle(server_->port());
  EXPECT_NE(slow_head.read_all().find(" 408 "), std::string::npos);
  EXPECT_NE(slow_body.read_all().find(" 408 "), std::string::npos);
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_TRUE(slow_head.is_closed() && slow_body.is_closed() && idle.is_closed());
}

TEST_F(HttpServerTest, turns_away_connections_over_the_limit) {
  start({.max_connections = 1});
  TestClient first(server_->port());
  EXPECT_TRUE(eventually([&] { return server_->num_connections() == 1; }));
  TestClient second(server_->port());
  EXPECT_EQ(second.read_all().find("HTTP/1.1 503"), 0U);
  EXPECT_NE(first.ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").find("\r\n\r\nhi"),
            std::string::npos);
}

TEST_F(HttpServerTest, lives_on_when_descriptors_run_out) {
  start();
  rlimit old{};
  ::getrlimit(RLIMIT_NOFILE, &old);
  TestClient before(server_->port());
  TestClient waiting(server_->port());
  rlimit none = old;
  none.rlim_cur = 3;   // everything open stays open; nothing new
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::this_thread::sleep_for(milliseconds(50));
  ::setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_NE(before.ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").find("\r\n\r\nhi"),
            std::string::npos);
  TestClient after(server_->port());
  EXPECT_NE(after.ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").find("\r\n\r\nhi"),
            std::string::npos);
}

TEST_F(HttpServerTest, a_port_in_use_is_an_error_that_names_it) {
  start();
  const auto second = HttpServer::start({.host = "127.0.0.1", .port = server_->port()}, handler_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find(std::to_string(server_->port())), std::string::npos);
  EXPECT_EQ(HttpServer::start({.host = "no.such.host.invalid", .port = 0}, handler_).error().code,
            ErrorCode::kInvalidArgument);
}

TEST_F(HttpServerTest, ends_with_streams_open) {
  start();
  TestClient client(server_->port());
  client.send(kGetStream);
  const auto exchange = handler_.take_held();
  ASSERT_NE(exchange, nullptr);
  server_->stop_accepting();
  exchange->send("data: last\n\n");
  EXPECT_NE(client.read_until("last\n\n").find("data: last"), std::string::npos);
  server_.reset();
  EXPECT_TRUE(handler_.ended(ExchangeEnd::kShutdown));
  exchange->send("nobody hears this");
}

}  // namespace
}  // namespace gale
