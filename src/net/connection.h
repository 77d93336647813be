#pragma once

#include <atomic>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "net/exchange_state.h"
#include "net/http_server.h"
#include "net/io_stream.h"
#include "net/request_parser.h"
#include "net/web_socket_connection.h"

// Internal to net: the only header that shows Asio.
namespace gale {

using IoAcceptor = asio::basic_socket_acceptor<asio::ip::tcp, IoExecutor>;
using IoTimer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, IoExecutor>;

// What all I/O threads of a server share.
struct ServerState {
  HttpServerConfig config;
  HttpHandler& handler;
  Guarded<std::shared_ptr<asio::ssl::context>> tls{};   // null: plain; shared with handshakes under way
  std::atomic<int> num_connections{0};
  std::atomic<int> num_web_sockets{0};
  std::atomic<int> num_exchanges{0};
  std::atomic<bool> is_closing_after_answers{false};
  std::atomic<bool> is_accepting{true};
  std::atomic<bool> has_successor{false};
};

class Connection;

// One event loop with its acceptors and connections. Shared with its connections, so that an answer that is still being
// written to from another thread finds it alive.
class IoThread : public std::enable_shared_from_this<IoThread> {
 public:
  IoThread(ServerState& server, const std::vector<int>& listeners);
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;
  ~IoThread();
  void start();
  void stop_accepting();       // from any thread
  // From any thread; connections stay as they are. Counts down when no new one can come.
  void close_listeners(const std::shared_ptr<std::latch>& closed);
  void shut_down();            // closes everything and joins

  // From any thread: `connection` has output. One task in the loop takes all that came since the last.
  void add_ready(std::shared_ptr<Connection> connection) noexcept;

  // ---- for connections, on this thread ------------------------------------------------------------------------------
  [[nodiscard]] ServerState& server() { return server_; }
  [[nodiscard]] asio::io_context& context() { return context_; }
  [[nodiscard]] std::string& scratch() { return scratch_; }
  void forget(const std::shared_ptr<Connection>& connection);
  // Takes the connection's place: it counts on until it is closed. Without memory the client sees it closed at once.
  void adopt_web_socket(const RequestHead& head, IoStream stream);

 private:
  void run();
  void arm();
  void accept(size_t listener);
  void on_accepted(size_t listener, const boost::system::error_code& error, IoSocket socket);
  void admit(IoSocket socket);
  void shed_one(size_t listener);
  void flush_ready();
  [[nodiscard]] std::shared_ptr<Connection> take_ready();   // null: there is none; with ready_mutex_ held
  void schedule_sweep();
  void sweep();
  void close_acceptors();

  ServerState& server_;
  CallMemory sweep_memory_, flush_memory_;
  std::vector<std::unique_ptr<CallMemory>> accept_memory_;   // of each acceptor
  asio::io_context context_{1};                              // after what its calls lie in
  std::vector<IoAcceptor> acceptors_;
  IoTimer sweep_timer_;
  std::vector<std::unique_ptr<IoTimer>> backoff_timers_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::unordered_set<std::shared_ptr<WebSocketPeer>> web_sockets_;
  std::string scratch_;
  int reserve_fd_ = -1;        // given up for a moment to accept and close a connection when descriptors run out
  bool is_shut_down_ = false;
  std::mutex ready_mutex_;     // guards what follows, and the links in connections
  std::shared_ptr<Connection> first_ready_;   // each once, first in, first out: output is announced without memory
  Connection* last_ready_ = nullptr;
  size_t num_ready_ = 0;
  bool is_flush_posted_ = false;
  bool is_deaf_ = false;       // the loop is gone
  std::thread thread_;
};

// One client: shakes hands if there is TLS, reads requests, has them handled one by one, writes answers. Lives on its
// I/O thread. Reading goes on while an answer is computed, so that a client that left is noticed at once.
class Connection final : public OutputOwner, public IoListener, public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<IoThread> thread, IoStream stream, std::string peer);
  void start();
  void output_ready() noexcept override;
  // Output for which there is no memory waits for the next sweep.
  void flush();
  void sweep(TimePoint now);
  void on_handshake(const boost::system::error_code& error) override;
  void on_read(const boost::system::error_code& error, std::string_view bytes) override;
  void on_written(const boost::system::error_code& error, size_t num_bytes) override;
  void close_if_idle();
  void close(ExchangeEnd how);

 private:
  enum class State { kHandshake, kHead, kBody, kAnswering, kLingering, kClosed };

  friend class IoThread;
  void await_request();
  template <class Step>
  void within_memory(Step step);
  template <class Step>
  void answer_within_memory(Step step);
  void read();
  void on_bytes(std::string_view bytes);
  void on_lost_input();
  void on_end_of_input();
  void advance();
  void on_head();
  void dispatch();
  void begin_exchange(const RequestHead& head, bool keep_alive);
  void fail_request(const HttpError& error);
  void write();
  void do_flush();
  void do_sweep(TimePoint now);
  void finish_answer();
  void linger();
  [[nodiscard]] std::chrono::milliseconds idle_timeout() const;
  [[nodiscard]] bool has_input_waiting();
  [[nodiscard]] const HttpServerConfig& config() const { return thread_->server().config; }

  std::shared_ptr<IoThread> thread_;
  IoStream stream_;
  const std::string peer_;
  State state_ = State::kHead;
  std::unique_ptr<RequestParser> parser_;
  std::shared_ptr<ExchangeState> exchange_;
  std::string input_;          // received, not yet parsed
  std::string output_;         // being written
  size_t num_written_ = 0;
  bool is_reading_ = false;
  bool is_writing_ = false;
  bool saw_end_of_input_ = false;
  bool has_lost_input_ = false;    // for lack of memory: what follows would be misread
  bool owes_flush_ = false;
  bool is_listed_ready_ = false;   // the thread's, under its lock; the next one, too
  std::shared_ptr<Connection> next_ready_;
  TimePoint since_{};          // of the state; of the first byte, within a head
  TimePoint last_write_{};
};

}  // namespace gale
