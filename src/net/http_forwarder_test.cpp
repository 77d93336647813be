#include "net/http_forwarder.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "net/http_server.h"
#include "net/test_client.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// The server behind: answers /echo with what it got; keeps /hold and /events for the test.
class Upstream final : public HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const RequestHead&) override { return std::nullopt; }
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override {
    if (request.head.path == "/base/echo") {
      const std::string key(request.head.field("authorization").value_or("none"));
      return exchange->reply({418, {{"Content-Type", "text/plain"}, {"X-Request-Id", "abc"}, {"X-Secret", "s"}},
                              request.head.method + " " + request.head.target + " " + key + " " + request.body});
    }
    exchange->on_end([this](ExchangeEnd) { set([this] { ++num_ended; }); });
    if (request.head.path == "/base/events")
      exchange->start_stream({200, {{"Content-Type", "text/event-stream"}}, ""}, ": ping\n\n");
    set([&] { held = exchange; });
  }
  HttpResponse protocol_error(const HttpError& error) override { return {error.status, {}, error.message}; }

  template <class F>
  void set(F&& change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <class F>
  bool wait(F&& holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(60), holds);
  }
  std::shared_ptr<Exchange> held;
  int num_ended = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

// The server in front: forwards everything.
class Front final : public HttpHandler {
 public:
  explicit Front(const ForwarderConfig& config) : forwarder(HttpForwarder::start(config)) {}
  std::optional<HttpResponse> refuse(const RequestHead&) override { return std::nullopt; }
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override {
    forwarder->forward({.method = request.head.method,
                        .target = request.head.target,
                        .fields = {{"Authorization", "k"}},
                        .body = request.body},
                       std::move(exchange), {.fields = {{"X-Front", "1"}}, .failed = [](const Error& error) {
                                               return HttpResponse{error.code == ErrorCode::kDeadline     ? 504
                                                                   : error.code == ErrorCode::kOverloaded ? 429
                                                                                                          : 502,
                                                                   {},
                                                                   error.message};
                                             }});
  }
  HttpResponse protocol_error(const HttpError& error) override { return {error.status, {}, error.message}; }
  std::unique_ptr<HttpForwarder> forwarder;
};

class HttpForwarderTest : public testing::Test {
 protected:
  void start(ForwarderConfig config = {}) {
    upstream_server_ = *HttpServer::start({.host = "127.0.0.1", .port = 0}, upstream_);
    config.server = {"127.0.0.1", config.server.port == 80 ? upstream_server_->port() : config.server.port, "/base"};
    front_ = std::make_unique<Front>(config);
    front_server_ = *HttpServer::start({.host = "127.0.0.1", .port = 0}, *front_);
  }
  void TearDown() override {
    front_server_.reset();
    front_.reset();
    upstream_server_.reset();
  }
  Upstream upstream_;
  std::unique_ptr<HttpServer> upstream_server_;
  std::unique_ptr<Front> front_;
  std::unique_ptr<HttpServer> front_server_;
};

const std::string kGetEvents = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
const std::string kGetHold = "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";

TEST_F(HttpForwarderTest, passes_request_and_answer_with_the_fields_that_were_agreed) {
  start();
  TestClient client(front_server_->port());
  const std::string answer =
      client.ask("POST /echo?a=%20b HTTP/1.1\r\nHost: x\r\nX-Client: y\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_NE(answer.find("418 "), std::string::npos);
  EXPECT_NE(answer.find("\r\n\r\nPOST /base/echo?a=%20b k hi"), std::string::npos) << answer;
  EXPECT_NE(answer.find("X-Request-Id: abc"), std::string::npos);
  EXPECT_NE(answer.find("X-Front: 1"), std::string::npos);
  EXPECT_EQ(answer.find("X-Secret"), std::string::npos);
}

TEST_F(HttpForwarderTest, passes_whole_events_as_they_come) {
  start();
  TestClient client(front_server_->port());
  client.send(kGetEvents);
  ASSERT_TRUE(upstream_.wait([this] { return upstream_.held != nullptr; }));
  upstream_.held->send("data: one\n\ndata: tw");
  EXPECT_NE(client.read_until("data: one\n\n").find("text/event-stream"), std::string::npos);
  upstream_.held->send("o\n\n");
  EXPECT_NE(client.read_until("data: two\n\n").find("data: two"), std::string::npos);
  upstream_.held->send("data: cut off");
  upstream_.held->finish();
  EXPECT_EQ(client.read_until("0\r\n\r\n").find("cut off"), std::string::npos);
}

TEST_F(HttpForwarderTest, a_client_that_leaves_ends_the_request_behind) {
  start();
  TestClient client(front_server_->port());
  client.send(kGetEvents);
  ASSERT_TRUE(upstream_.wait([this] { return upstream_.held != nullptr; }));
  client.close();
  EXPECT_TRUE(upstream_.wait([this] { return upstream_.num_ended == 1; }));
  for (int i = 0; i < 6000 && front_->forwarder->num_live() > 0; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(front_->forwarder->num_live(), 0);
}

TEST_F(HttpForwarderTest, tells_that_nobody_listens) {
  ForwarderConfig config;
  config.server.port = 9;
  start(config);
  TestClient client(front_server_->port());
  const std::string answer = client.ask(kGetHold);
  EXPECT_NE(answer.find("502 "), std::string::npos);
  EXPECT_NE(answer.find("the API at 127.0.0.1:9 gave no answer"), std::string::npos) << answer;
}

TEST_F(HttpForwarderTest, gives_up_on_a_server_that_is_silent) {
  ForwarderConfig config;
  config.silence_timeout = milliseconds(50);
  start(config);
  TestClient client(front_server_->port());
  EXPECT_NE(client.ask(kGetHold).find("504 "), std::string::npos);
}

TEST_F(HttpForwarderTest, refuses_more_than_its_bound) {
  ForwarderConfig config;
  config.max_live = 1;
  start(config);
  TestClient first(front_server_->port()), second(front_server_->port());
  first.send(kGetHold);
  ASSERT_TRUE(upstream_.wait([this] { return upstream_.held != nullptr; }));
  EXPECT_NE(second.ask(kGetHold).find("429 "), std::string::npos);
  upstream_.held->reply({200, {}, "late"});
  EXPECT_NE(first.read_until("late").find("200 "), std::string::npos);
}

}  // namespace
}  // namespace gale
