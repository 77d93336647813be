#include "net/http_forwarder.h"

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <thread>

namespace gale {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr std::array kPassedOn = {"Content-Type", "Retry-After", "X-Request-Id", "X-Stream-Id"};
constexpr size_t kReadBytes = size_t{16} << 10;
constexpr std::string_view kPing = ": ping\n\n";     // a comment, should the server itself fall silent

std::string wire_form(const ServerUrl& server, const ForwardRequest& request) {
  const std::string host = bracketed(server.host);
  std::string out = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n", request.method,
                                server.prefix, request.target, host, server.port);
  for (const auto& [name, value] : request.fields) fmt::format_to(std::back_inserter(out), "{}: {}\r\n", name, value);
  if (request.method == "POST") fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", request.body.size());
  return out.append("\r\n").append(request.body);
}

// One request under way; lives on the forwarder's thread, kept alive by its own pending operation.
class Forward final : public std::enable_shared_from_this<Forward> {
 public:
  Forward(asio::io_context& context, const ForwarderConfig& config, std::atomic<int>& num_live,
          std::shared_ptr<Exchange> exchange, ForwardAnswer answer)
      : config_(config),
        num_live_(num_live),
        exchange_(std::move(exchange)),
        answer_(std::move(answer)),
        resolver_(context),
        stream_(context) {
    parser_.body_limit(boost::none);
  }
  ~Forward() { --num_live_; }
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  void start(const ForwardRequest& request) {
    wire_ = wire_form(config_.server, request);
    exchange_->on_end([weak = weak_from_this()](ExchangeEnd) {
      const std::shared_ptr<Forward> self = weak.lock();
      if (self) asio::post(self->stream_.get_executor(), [self] { self->close(); });
    });
    asio::post(stream_.get_executor(), [self = shared_from_this()] { self->resolve(); });
  }

 private:
  void resolve() {
    if (is_closed_) return;
    resolver_.async_resolve(
        config_.server.host, std::to_string(config_.server.port),
        [self = shared_from_this()](error_code error, const tcp::resolver::results_type& addresses) {
          if (error) return self->fail_with(ErrorCode::kUnavailable, error.message());
          self->connect(addresses);
        });
  }
  void connect(const tcp::resolver::results_type& addresses) {
    if (is_closed_) return;
    stream_.expires_after(config_.connect_timeout);
    stream_.async_connect(addresses, [self = shared_from_this()](error_code error, const tcp::endpoint&) {
      if (error) return self->fail_with(ErrorCode::kUnavailable, error.message());
      self->shake_hands();
    });
  }
  void shake_hands() {
    if (is_closed_ || !config_.server.tls) return write();
    tls_.emplace(stream_, *config_.server.tls);
    if (const Status expected = expect_server(tls_->native_handle(), config_.server); !expected)
      return fail_with(ErrorCode::kUnavailable, expected.error().message);
    stream_.expires_after(config_.connect_timeout);
    tls_->async_handshake(asio::ssl::stream_base::client, [self = shared_from_this()](error_code error) {
      if (self->is_closed_ || !error) return self->write();
      const bool is_of_tls = error.category() == asio::error::get_ssl_category();
      self->fail_with(code_of(error), is_of_tls ? handshake_failure(self->tls_->native_handle(),
                                                                    static_cast<unsigned long>(error.value()))
                                                : error.message());
    });
  }
  // `use` of the stream that speaks HTTP.
  template <class Use>
  void with_stream(Use use) {
    if (tls_) use(*tls_);
    else use(stream_);
  }
  void write() {
    if (is_closed_) return;
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    stream_.expires_after(config_.silence_timeout);
    // An error of writing is found by reading: a server that refuses a body has said why.
    with_stream([this](auto& stream) {
      asio::async_write(stream, asio::buffer(wire_),
                        [self = shared_from_this()](error_code, size_t) { self->read_head(); });
    });
  }
  void read_head() {
    if (is_closed_) return;
    stream_.expires_after(config_.silence_timeout);
    with_stream([this](auto& stream) {
      http::async_read_header(stream, buffer_, parser_, [self = shared_from_this()](error_code error, size_t) {
        if (error) return self->fail_with(code_of(error), error.message());
        self->on_head();
      });
    });
  }
  void on_head() {
    const auto& message = parser_.get();
    head_.status = static_cast<int>(message.result_int());
    head_.fields = answer_.fields;
    for (const char* name : kPassedOn) {
      const auto found = message.find(name);
      if (found != message.end())
        head_.fields.emplace_back(name, std::string(found->value().data(), found->value().size()));
    }
    const auto type = message[http::field::content_type];
    is_event_stream_ = type.substr(0, std::string_view("text/event-stream").size()) == "text/event-stream";
    if (is_event_stream_) exchange_->start_stream(head_, std::string(kPing));
    read_body();
  }
  void read_body() {
    if (is_closed_) return;
    if (parser_.is_done()) return finish();
    parser_.get().body().data = scratch_.data();
    parser_.get().body().size = scratch_.size();
    stream_.expires_after(config_.silence_timeout);
    with_stream([this](auto& stream) {
      http::async_read_some(stream, buffer_, parser_,
                            [self = shared_from_this()](error_code error, size_t) { self->on_body(error); });
    });
  }
  void on_body(error_code error) {
    if (error == http::error::need_buffer) error = {};
    take(scratch_size() - parser_.get().body().size);
    if (is_closed_) return;
    if (!error) return read_body();
    if (is_event_stream_) return finish();   // no [DONE] came: the client knows that it was cut
    fail_with(code_of(error), error.message());
  }
  static constexpr size_t scratch_size() { return kReadBytes; }
  static ErrorCode code_of(const error_code& error) {
    return error == beast::error::timeout ? ErrorCode::kDeadline : ErrorCode::kUnavailable;
  }

  // Whole events only: the comment of a silent stream must not fall into the middle of one.
  void take(size_t num_bytes) {
    collected_.append(scratch_.data(), num_bytes);
    if (is_event_stream_) {
      const size_t end = collected_.rfind("\n\n");
      if (end != std::string::npos) {
        exchange_->send(std::string_view(collected_).substr(0, end + 2));
        collected_.erase(0, end + 2);
      }
    }
    if (collected_.size() <= config_.max_reply_bytes) return;
    if (is_event_stream_) return finish();
    fail_with(ErrorCode::kUnavailable, fmt::format("its answer is larger than {} bytes", config_.max_reply_bytes));
  }
  void finish() {
    if (is_event_stream_) {
      exchange_->finish();
    } else {
      head_.body = std::move(collected_);
      exchange_->reply(std::move(head_));
    }
    close();
  }
  void fail_with(ErrorCode code, std::string_view why) {
    if (is_closed_) return;
    const std::string place = fmt::format("{}:{}", config_.server.host, config_.server.port);
    exchange_->reply(answer_.failed({code, fmt::format("the API at {} gave no answer: {}", place, why), {}}));
    close();
  }
  void close() {
    is_closed_ = true;
    resolver_.cancel();
    stream_.close();
  }

  const ForwarderConfig& config_;
  std::atomic<int>& num_live_;
  const std::shared_ptr<Exchange> exchange_;       // shared with the connection that writes it
  const ForwardAnswer answer_;
  tcp::resolver resolver_;
  beast::tcp_stream stream_;
  std::optional<asio::ssl::stream<beast::tcp_stream&>> tls_;   // over stream_
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::array<char, kReadBytes> scratch_{};
  std::string wire_;
  std::string collected_;
  HttpResponse head_;
  bool is_event_stream_ = false;
  bool is_closed_ = false;
};

class BeastForwarder final : public HttpForwarder {
 public:
  explicit BeastForwarder(const ForwarderConfig& config)
      : config_(config), work_(context_.get_executor()), thread_([this] { context_.run(); }) {}
  ~BeastForwarder() override {
    context_.stop();
    thread_.join();
  }
  void forward(ForwardRequest request, std::shared_ptr<Exchange> exchange, ForwardAnswer answer) override {
    if (++num_live_ > config_.max_live) {
      --num_live_;
      return exchange->reply(
          answer.failed({ErrorCode::kOverloaded, fmt::format("{} requests are under way", config_.max_live), {}}));
    }
    std::make_shared<Forward>(context_, config_, num_live_, std::move(exchange), std::move(answer))->start(request);
  }
  int num_live() const override { return num_live_; }

 private:
  const ForwarderConfig config_;
  std::atomic<int> num_live_{0};       // outlives the operations that the context drops
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<HttpForwarder> HttpForwarder::start(const ForwarderConfig& config) {
  return std::make_unique<BeastForwarder>(config);
}

}  // namespace gale
