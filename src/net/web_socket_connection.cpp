#include "net/web_socket_connection.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <mutex>
#include <utility>

namespace gale {
namespace {

namespace beast = boost::beast;
namespace websocket = beast::websocket;

// Beast asks for a sign of life after half of this, and closes a connection that gives none.
constexpr int kPingsUntilIdle = 2;

constexpr std::string_view kProtocol = "gale";

bool offers(const RequestHead& head, std::string_view protocol) {
  std::string_view rest = head.field("sec-websocket-protocol").value_or("");
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    if (trim_blanks(rest.substr(0, comma)) == protocol) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

template <class Stream>  // plain or TLS
class BeastWebSocket final : public WebSocketPeer, public std::enable_shared_from_this<BeastWebSocket<Stream>> {
 public:
  BeastWebSocket(Stream stream, const RequestHead& head, const HttpServerConfig& config, asio::io_context& context,
                 std::shared_ptr<void> loop)
      : loop_(std::move(loop)),
        max_pending_bytes_(config.max_pending_bytes),
        context_(context),
        stream_(std::move(stream)) {
    upgrade_.version(11);
    upgrade_.method(beast::http::verb::get);
    upgrade_.target(head.target);
    for (const auto& [name, value] : head.fields) upgrade_.insert(name, value);
    websocket::stream_base::timeout limits{};
    limits.handshake_timeout = config.header_timeout;
    limits.idle_timeout = config.ping_interval * kPingsUntilIdle;
    limits.keep_alive_pings = true;
    stream_.set_option(limits);
    stream_.read_message_max(config.limits.max_body_bytes);
    stream_.text(true);
    // A browser can bring its key only among the protocols that it offers; one of them has to be chosen.
    if (offers(head, kProtocol)) {
      stream_.set_option(websocket::stream_base::decorator([](websocket::response_type& response) {
        response.set(beast::http::field::sec_websocket_protocol, kProtocol);
      }));
    }
  }

  void start(std::shared_ptr<WebSocketListener> listener, std::function<void()> on_gone) override {
    listener_ = std::move(listener);
    on_gone_ = std::move(on_gone);
    within_memory([this] {
      stream_.async_accept(upgrade_, [call = Call(this->shared_from_this())](const beast::error_code& error) mutable {
        const auto self = call.answered();
        if (error) return self->end();
        self->is_accepted_ = true;
        self->within_memory([&self] {
          self->read();
          self->write();
        });
      });
    });
  }

  void send(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    if (is_over_ || is_overflowing_) return;
    const bool overflows = num_pending_bytes_ + text.size() > max_pending_bytes_;
    if (!overflows) pending_.emplace_back(text);
    try {   // an overflow has to be heard of even while a write is stuck
      if (overflows || !is_announced_) asio::post(context_, [self = this->shared_from_this()] { self->write(); });
    } catch (const std::bad_alloc&) {   // nothing was sent
      if (!overflows) pending_.pop_back();
      throw;
    }
    num_pending_bytes_ += text.size();
    is_overflowing_ = overflows;
    is_announced_ = true;
  }

  void close() override {
    run_later([self = this->shared_from_this()] {
      if (!self->stream_.is_open()) return self->end();
      self->stream_.async_close(websocket::close_code::normal,
                                [call = Call(self)](const beast::error_code&) mutable { call.answered()->end(); });
    });
  }

  // Never after the end: the loop may be gone, and the task would keep alive what it holds.
  void run_later(std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    if (!is_over_) asio::post(context_, std::move(task));
  }

  void cut() override { end(); }
  void cut_if_lost() override {
    if (has_lost_call_) end();
  }

 private:
  // One under way. Without memory in the middle of it, it is destroyed and never answered.
  class Call {
   public:
    explicit Call(std::shared_ptr<BeastWebSocket> socket) : socket_(std::move(socket)) {}
    Call(Call&&) noexcept = default;
    ~Call() {
      if (socket_) socket_->has_lost_call_ = true;
    }
    [[nodiscard]] std::shared_ptr<BeastWebSocket> answered() { return std::move(socket_); }

   private:
    std::shared_ptr<BeastWebSocket> socket_;
  };

  // A socket for whose next step there is no memory ends: its client sees that, and the others live.
  template <class Step>
  void within_memory(Step step) {
    try {
      step();
    } catch (const std::bad_alloc&) {
      end();
    }
  }

  void read() {
    stream_.async_read(input_, [call = Call(this->shared_from_this())](const beast::error_code& error, size_t) mutable {
      const auto self = call.answered();
      if (error) return self->end();
      self->within_memory([&self] { self->on_read(); });
    });
  }

  void on_read() {
    std::string text = beast::buffers_to_string(input_.data());
    input_.consume(input_.size());
    if (listener_) listener_->on_message(std::move(text));
    if (listener_) read();
  }

  void write() {
    within_memory([this] { try_write(); });
  }

  void try_write() {
    bool overflows = false;
    {
      const std::lock_guard lock(mutex_);
      if (is_over_) return;
      overflows = is_overflowing_;
      const bool can_write = is_accepted_ && !is_writing_ && !pending_.empty();
      if (!can_write && !overflows) {
        is_announced_ = is_writing_;   // the write under way looks again when it is done
        return;
      }
      if (!overflows) {
        output_ = std::move(pending_.front());
        pending_.pop_front();
      }
    }
    if (overflows) return end();
    is_writing_ = true;
    stream_.async_write(asio::buffer(output_),
                        [call = Call(this->shared_from_this())](const beast::error_code& error, size_t) mutable {
                          const auto self = call.answered();
                          if (error) return self->end();
                          self->is_writing_ = false;
                          {
                            const std::lock_guard lock(self->mutex_);
                            self->num_pending_bytes_ -= self->output_.size();
                          }
                          self->write();
                        });
  }

  // The socket is done with, whoever ended it.
  void end() {
    {
      const std::lock_guard lock(mutex_);
      if (is_over_) return;
      is_over_ = true;
      pending_.clear();
    }
    beast::error_code ignored;   // closing is all that is left to do
    beast::get_lowest_layer(stream_).close(ignored);
    const std::shared_ptr<WebSocketListener> listener = std::move(listener_);
    listener_.reset();
    if (listener) listener->on_close();
    if (on_gone_) std::exchange(on_gone_, nullptr)();
  }

  const std::shared_ptr<void> loop_;             // owns the context, which has to outlive the stream
  const size_t max_pending_bytes_;
  asio::io_context& context_;
  websocket::stream<Stream, false> stream_;
  beast::http::request<beast::http::empty_body> upgrade_;
  beast::flat_buffer input_;
  std::string output_;                           // being written
  bool is_accepted_ = false;
  bool is_writing_ = false;
  bool has_lost_call_ = false;
  std::shared_ptr<WebSocketListener> listener_;  // shared with the handler's own; gone after the end
  std::function<void()> on_gone_;
  std::mutex mutex_;                             // guards what follows
  std::deque<std::string> pending_;
  size_t num_pending_bytes_ = 0;                 // with what is being written
  bool is_announced_ = false;                    // a write() is posted or under way
  bool is_overflowing_ = false;
  bool is_over_ = false;
};

}  // namespace

std::shared_ptr<WebSocketPeer> make_web_socket_peer(std::variant<IoSocket, TlsSocket> stream, const RequestHead& head,
                                                    const HttpServerConfig& config, asio::io_context& context,
                                                    std::shared_ptr<void> loop) {
  return std::visit(
      [&](auto& held) -> std::shared_ptr<WebSocketPeer> {
        using Stream = std::remove_reference_t<decltype(held)>;
        return std::make_shared<BeastWebSocket<Stream>>(std::move(held), head, config, context, std::move(loop));
      },
      stream);
}

}  // namespace gale
