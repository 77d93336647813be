#include "net/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <utility>
#include <boost/asio/post.hpp>
#include <latch>

#include "base/fault_point.h"
#include "base/log.h"
#include "net/connection.h"
#include "net/listeners.h"

namespace gale {
namespace {

constexpr size_t kScratchBytes = size_t{64} << 10;
constexpr std::chrono::milliseconds kAcceptBackoff{100};

std::chrono::milliseconds sweep_period(const HttpServerConfig& config) {
  const auto shortest = std::min({config.header_timeout, config.idle_timeout, config.body_grace, config.write_timeout,
                                  config.linger, config.ping_interval});
  return std::clamp(shortest / 4, std::chrono::milliseconds(10), std::chrono::milliseconds(500));
}

int open_reserve() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

std::string address_of(const IoSocket& socket) {
  boost::system::error_code code;
  const auto endpoint = socket.remote_endpoint(code);
  return code ? std::string() : endpoint.address().to_string();
}

}  // namespace

IoThread::IoThread(ServerState& server, const std::vector<int>& listeners)
    : server_(server), sweep_timer_(context_), scratch_(kScratchBytes, '\0'), reserve_fd_(open_reserve()) {
  for (const int fd : listeners) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    acceptors_.emplace_back(context_);
    acceptors_.back().assign(address.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), fd);
    backoff_timers_.push_back(std::make_unique<IoTimer>(context_));
    accept_memory_.push_back(std::make_unique<CallMemory>());
  }
}

IoThread::~IoThread() {
  if (reserve_fd_ >= 0) ::close(reserve_fd_);
}

void IoThread::start() {
  arm();
  thread_ = std::thread([this] { run(); });
}

void IoThread::arm() {
  for (size_t i = 0; i < acceptors_.size(); ++i) accept(i);
  schedule_sweep();
}

// What a connection does catches its own lack of memory. What is left is the loop's own: taking a connection, timers,
// tasks. Whatever waited may be lost with the exception, so all of it is begun again.
void IoThread::run() {
  bool has_lost_its_waits = false;
  while (true) {
    try {
      if (has_lost_its_waits && !is_shut_down_) {
        boost::system::error_code ignored;   // nothing may be under way
        for (IoAcceptor& acceptor : acceptors_) acceptor.cancel(ignored);
        arm();
        const std::vector<std::shared_ptr<WebSocketPeer>> web_sockets(web_sockets_.begin(), web_sockets_.end());
        for (const auto& peer : web_sockets) peer->cut_if_lost();
      }
      has_lost_its_waits = false;
      context_.run();
      return;
    } catch (const std::bad_alloc&) {
      has_lost_its_waits = true;
    }
    std::fputs("gale: there was no memory in the network loop; it goes on\n", stderr);
  }
}

void IoThread::accept(size_t listener) {
  if (!acceptors_[listener].is_open()) return;
  acceptors_[listener].async_accept(
      in_memory(*accept_memory_[listener], [this, listener](const boost::system::error_code& error, IoSocket socket) {
        on_accepted(listener, error, std::move(socket));
      }));
}

void IoThread::on_accepted(size_t listener, const boost::system::error_code& error, IoSocket socket) {
  if (!acceptors_[listener].is_open()) {   // accepted before, told now: nobody else has this client
    if (!error && server_.has_successor) admit(std::move(socket));
    return;
  }
  if (error == asio::error::operation_aborted) return;
  const bool is_exhausted = error.value() == EMFILE || error.value() == ENFILE || error.value() == ENOBUFS ||
                            error.value() == ENOMEM || (!error && fault_happens("net.accept"));
  if (is_exhausted) {
    log_warning("no file descriptor left for a new connection ({} are open): raise the limit (ulimit -n)",
                server_.num_connections.load());
    if (error) shed_one(listener);   // a test's fault has a client already, who is shed with `socket`
    backoff_timers_[listener]->expires_after(kAcceptBackoff);
    backoff_timers_[listener]->async_wait([this, listener](const boost::system::error_code& code) {
      if (!code) accept(listener);
    });
    return;
  }
  if (!error) admit(std::move(socket));
  accept(listener);
}

// The waiting client is told at once (its connection closes) instead of hanging in the backlog.
void IoThread::shed_one(size_t listener) {
  if (reserve_fd_ >= 0) ::close(reserve_fd_);
  const int fd = ::accept4(acceptors_[listener].native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0) ::close(fd);
  reserve_fd_ = open_reserve();
}

void IoThread::admit(IoSocket socket) {
  boost::system::error_code ignored;   // a connection that is gone again shows at the first read
  socket.non_blocking(true, ignored);
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  const std::shared_ptr<asio::ssl::context> tls = server_.tls.with([](const auto& held) { return held; });
  if (++server_.num_connections > server_.config.max_connections) {
    --server_.num_connections;
    constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if (!tls) socket.write_some(asio::buffer(kFull), ignored);
    return;
  }
  std::shared_ptr<Connection> connection;
  try {
    std::string peer = address_of(socket);
    connection = std::make_shared<Connection>(
        shared_from_this(), tls ? IoStream(std::move(socket), *tls) : IoStream(std::move(socket)), std::move(peer));
    connections_.insert(connection);
    connection->start();
  } catch (const std::bad_alloc&) {   // this one is closed, the others live
    if (connection) connection->close(ExchangeEnd::kClientGone);
    else --server_.num_connections;
  }
}

void IoThread::add_ready(std::shared_ptr<Connection> connection) noexcept {
  {
    const std::lock_guard lock(ready_mutex_);
    if (is_deaf_ || std::exchange(connection->is_listed_ready_, true)) return;
    Connection* const added = connection.get();
    (last_ready_ == nullptr ? first_ready_ : last_ready_->next_ready_) = std::move(connection);
    last_ready_ = added;
    ++num_ready_;
    if (std::exchange(is_flush_posted_, true)) return;
  }
  asio::post(context_, in_memory(flush_memory_, [this] { flush_ready(); }));
}

std::shared_ptr<Connection> IoThread::take_ready() {
  std::shared_ptr<Connection> connection = std::move(first_ready_);
  if (!connection) return nullptr;
  first_ready_ = std::move(connection->next_ready_);
  if (!first_ready_) last_ready_ = nullptr;
  connection->is_listed_ready_ = false;
  --num_ready_;
  return connection;
}

// Those that are there now: what comes meanwhile has a task of its own, behind whoever waits in the loop.
void IoThread::flush_ready() {
  std::unique_lock lock(ready_mutex_);
  is_flush_posted_ = false;
  for (size_t left = num_ready_; left > 0; --left) {
    std::shared_ptr<Connection> connection = take_ready();
    lock.unlock();
    connection->flush();
    connection.reset();   // without the lock
    lock.lock();
  }
}

void IoThread::forget(const std::shared_ptr<Connection>& connection) { connections_.erase(connection); }

void IoThread::adopt_web_socket(const RequestHead& head, IoStream stream) {
  std::shared_ptr<WebSocketPeer> peer;
  std::shared_ptr<WebSocketListener> listener;
  try {
    peer = make_web_socket_peer(stream.take(), head, server_.config, context_, shared_from_this());
    listener = server_.handler.open_web_socket(head, peer);
    web_sockets_.insert(peer);
  } catch (const std::bad_alloc&) {
    if (listener) listener->on_close();
    --server_.num_connections;
    return;
  }
  ++server_.num_web_sockets;
  peer->start(std::move(listener), [this, key = peer.get()] {
    --server_.num_connections;
    --server_.num_web_sockets;
    std::erase_if(web_sockets_, [key](const auto& held) { return held.get() == key; });
  });
}

void IoThread::schedule_sweep() {
  sweep_timer_.expires_after(sweep_period(server_.config));
  sweep_timer_.async_wait(in_memory(sweep_memory_, [this](const boost::system::error_code& code) {
    if (code || is_shut_down_) return;
    try {
      sweep();
    } catch (const std::bad_alloc&) {   // the next one is soon
    }
    schedule_sweep();
  }));
}

void IoThread::sweep() {
  const std::vector<std::shared_ptr<Connection>> connections(connections_.begin(), connections_.end());
  const TimePoint now = std::chrono::steady_clock::now();
  for (const auto& connection : connections) connection->sweep(now);
}

void IoThread::close_acceptors() {
  boost::system::error_code ignored;   // closing is all that is left to do
  for (size_t i = 0; i < acceptors_.size(); ++i) {
    acceptors_[i].close(ignored);
    backoff_timers_[i]->cancel();
  }
}

void IoThread::stop_accepting() {
  asio::post(context_, [this] {
    close_acceptors();
    const std::vector<std::shared_ptr<Connection>> connections(connections_.begin(), connections_.end());
    for (const auto& connection : connections) connection->close_if_idle();
  });
}

// Whom the kernel gave us before that is told by a task that is queued already: the second one runs behind it.
void IoThread::close_listeners(const std::shared_ptr<std::latch>& closed) {
  asio::post(context_, [this, closed] {
    close_acceptors();
    asio::post(context_, [closed] { closed->count_down(); });
  });
}

void IoThread::shut_down() {
  asio::post(context_, [this] {
    is_shut_down_ = true;
    close_acceptors();
    sweep_timer_.cancel();
    const std::vector<std::shared_ptr<Connection>> connections(connections_.begin(), connections_.end());
    for (const auto& connection : connections) connection->close(ExchangeEnd::kShutdown);
    const std::vector<std::shared_ptr<WebSocketPeer>> web_sockets(web_sockets_.begin(), web_sockets_.end());
    for (const auto& peer : web_sockets) peer->cut();
  });
  if (thread_.joinable()) thread_.join();   // the loop ends when nothing is open any more
  const std::lock_guard lock(ready_mutex_);
  is_deaf_ = true;
  while (take_ready()) {}
}

namespace {

// Null without TLS.
Result<std::shared_ptr<asio::ssl::context>> tls_context_of(const HttpServerConfig& config) {
  if (!config.tls.is_on()) return std::shared_ptr<asio::ssl::context>();
  return load_tls_context(config.tls);
}

class AsioHttpServer final : public HttpServer {
 public:
  AsioHttpServer(const HttpServerConfig& config, HttpHandler& handler, const Listeners& listeners,
                 std::shared_ptr<asio::ssl::context> tls)
      : state_{.config = config, .handler = handler}, port_(listeners.port) {
    state_.tls.with([&](auto& held) { held = std::move(tls); });
    for (const auto& group : listeners.groups) {
      threads_.push_back(std::make_shared<IoThread>(state_, group));
      listening_.insert(listening_.end(), group.begin(), group.end());
    }
    try {
      for (const auto& thread : threads_) thread->start();
    } catch (...) {   // those that began use this object
      shut_down();
      throw;
    }
  }
  ~AsioHttpServer() override { shut_down(); }

  int port() const override { return port_; }
  int num_connections() const override { return state_.num_connections; }
  int num_web_sockets() const override { return state_.num_web_sockets; }
  int num_exchanges() const override { return state_.num_exchanges; }
  std::vector<int> duplicate_listeners() const override {
    std::vector<int> copies;
    for (const int fd : listening_) {
      const int copy = state_.has_successor || !state_.is_accepting ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
      if (copy >= 0) copies.push_back(copy);
    }
    return copies;
  }
  void leave_to_successor() override {
    state_.has_successor = true;
    state_.is_closing_after_answers = true;
    const auto closed = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(threads_.size()));
    for (const auto& thread : threads_) thread->close_listeners(closed);
    closed->wait();
  }
  Status reload_tls() override {
    GALE_ASSIGN(std::shared_ptr<asio::ssl::context> tls, tls_context_of(state_.config));
    state_.tls.with([&](auto& held) { held = std::move(tls); });
    return {};
  }
  void close_after_answers() override { state_.is_closing_after_answers = true; }
  void stop_accepting() override {
    state_.is_accepting = false;
    state_.is_closing_after_answers = true;
    for (const auto& thread : threads_) thread->stop_accepting();
  }

 private:
  void shut_down() {
    state_.is_accepting = false;
    for (const auto& thread : threads_) thread->shut_down();
  }

  ServerState state_;
  const int port_;
  std::vector<int> listening_;          // owned by the threads
  std::vector<std::shared_ptr<IoThread>> threads_;   // shared with connections, see IoThread
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpServerConfig& config, HttpHandler& handler) {
  const int num_threads = std::max(1, config.num_io_threads);
  GALE_ASSIGN(std::shared_ptr<asio::ssl::context> tls, tls_context_of(config));
  GALE_ASSIGN(const Listeners listeners, open_listeners(config.host, config.port, num_threads, config.backlog));
  return std::make_unique<AsioHttpServer>(config, handler, listeners, std::move(tls));
}

Result<std::unique_ptr<HttpServer>> HttpServer::start_on(const HttpServerConfig& config, HttpHandler& handler,
                                                         const std::vector<int>& listening_sockets) {
  GALE_ASSIGN(std::shared_ptr<asio::ssl::context> tls, tls_context_of(config));
  GALE_ASSIGN(const Listeners listeners, adopt_listeners(listening_sockets, std::max(1, config.num_io_threads)));
  return std::make_unique<AsioHttpServer>(config, handler, listeners, std::move(tls));
}

}  // namespace gale
