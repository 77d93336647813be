// A server leaves its listening sockets to another one: no client is turned away, none is cut.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "net/http_server.h"
#include "net/test_client.h"

namespace gale {
namespace {

// Answers everything with its name; /slow keeps its I/O thread busy until it is let go.
class Named final : public HttpHandler {
 public:
  explicit Named(std::string name) : name_(std::move(name)) {}
  std::optional<HttpResponse> refuse(const RequestHead&) override { return std::nullopt; }
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override {
    if (request.head.path == "/slow") {
      is_busy = true;
      let_go.wait(false);
    }
    exchange->reply({200, {}, name_});
  }
  void go_on() {
    let_go = true;
    let_go.notify_all();
  }
  HttpResponse protocol_error(const HttpError& error) override { return {error.status, {}, error.message}; }
  std::atomic<bool> is_busy = false, let_go = false;

 private:
  const std::string name_;
};

constexpr std::chrono::seconds kPatience{60};
// A client that was quiet for a second may find its connection closed; one that was only this long never does.
constexpr std::chrono::milliseconds kNotQuiet{500};
const std::string kAsk = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

class SuccessorTest : public testing::Test {
 protected:
  SuccessorTest() : config_{.host = "127.0.0.1", .port = 0} { start_old(); }
  void TearDown() override { first_.go_on(); }   // also where a test ended early
  void start_old() {
    auto started = HttpServer::start(config_, first_);
    EXPECT_TRUE(started) << started.error().message;
    old_ = std::move(*started);
  }
  void hand_over(int num_io_threads) {
    config_.num_io_threads = num_io_threads;
    auto started = HttpServer::start_on(config_, second_, old_->duplicate_listeners());
    ASSERT_TRUE(started) << started.error().message;
    new_ = std::move(*started);
  }
  // What a kept connection hears from a server that has left meanwhile; nothing if it may have been closed for being
  // quiet, which on a busy machine happens.
  std::optional<std::string> ask_across_a_hand_over() {
    start_old();
    TestClient kept(old_->port());
    const auto asked = std::chrono::steady_clock::now();
    EXPECT_NE(kept.ask(kAsk).find("first"), std::string::npos);
    hand_over(2);
    old_->leave_to_successor();
    kept.send(kAsk);
    if (std::chrono::steady_clock::now() - asked > kNotQuiet) return std::nullopt;
    return kept.ask("");
  }

  HttpServerConfig config_;
  Named first_{"first"}, second_{"second"};
  std::unique_ptr<HttpServer> old_, new_;
};

TEST_F(SuccessorTest, new_clients_go_to_the_new_server_and_old_ones_are_served_once_more) {
  std::optional<std::string> last;
  while (!last) last = ask_across_a_hand_over();
  EXPECT_EQ(new_->port(), old_->port());
  for (int i = 0; i < 20; ++i) EXPECT_NE(TestClient(new_->port()).ask(kAsk).find("second"), std::string::npos);
  EXPECT_NE(last->find("first"), std::string::npos);
  EXPECT_NE(last->find("Connection: close"), std::string::npos) << *last;
  EXPECT_TRUE(old_->duplicate_listeners().empty()) << "they are not its own any more";
}

TEST_F(SuccessorTest, a_client_that_is_quiet_is_let_go) {
  TestClient quiet(old_->port());
  ASSERT_NE(quiet.ask(kAsk).find("first"), std::string::npos);
  hand_over(1);
  old_->leave_to_successor();
  EXPECT_TRUE(eventually([this] { return old_->num_connections() == 0; }, kPatience));
  EXPECT_EQ(quiet.read_all(), "");
}

TEST_F(SuccessorTest, a_request_that_came_while_its_thread_was_busy_is_answered) {
  config_.num_io_threads = 1;
  start_old();
  TestClient kept(old_->port()), slow(old_->port());
  ASSERT_NE(kept.ask(kAsk).find("first"), std::string::npos);
  ASSERT_NE(slow.ask(kAsk).find("first"), std::string::npos);
  slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(eventually([this] { return first_.is_busy.load(); }, kPatience));
  hand_over(1);
  std::jthread leaving([this] { old_->leave_to_successor(); });   // waits for the busy thread
  kept.send(kAsk);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));   // longer than a client may be quiet
  first_.go_on();
  EXPECT_NE(kept.ask("").find("first"), std::string::npos);
}

TEST_F(SuccessorTest, nobody_is_turned_away_while_servers_change) {
  std::atomic<bool> is_over{false};
  std::atomic<int> num_asked{0}, num_failed{0};
  std::thread client([&, port = old_->port()] {
    while (!is_over) {
      ++num_asked;
      const auto begin = std::chrono::steady_clock::now();
      TestClient one(port);
      one.send(kAsk);
      const bool was_quiet = std::chrono::steady_clock::now() - begin > kNotQuiet;
      if (one.ask("").find("200") == std::string::npos && !was_quiet) ++num_failed;
    }
  });
  for (int i = 0; i < 20; ++i) {
    const int before = num_asked;
    hand_over(1 + i % 3);
    old_->leave_to_successor();
    EXPECT_TRUE(eventually([this] { return old_->num_connections() == 0; }, kPatience));
    old_ = std::move(new_);
    EXPECT_TRUE(eventually([&] { return num_asked > before + 5; }, kPatience));
  }
  is_over = true;
  client.join();
  EXPECT_EQ(num_failed, 0) << "of " << num_asked;
}

TEST_F(SuccessorTest, what_does_not_listen_is_refused) {
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const auto on_file = HttpServer::start_on(config_, second_, {file});
  ASSERT_FALSE(on_file);
  EXPECT_EQ(on_file.error().code, ErrorCode::kCorrupt);
  const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_FALSE(HttpServer::start_on(config_, second_, {silent}));
  EXPECT_FALSE(HttpServer::start_on(config_, second_, {}));
}

}  // namespace
}  // namespace gale
