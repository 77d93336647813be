#include "net/connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <new>

#include "base/fault_point.h"
#include "base/log.h"

namespace gale {
namespace {

constexpr size_t kMaxPipelinedBytes = size_t{64} << 10;   // beyond, reading waits until the answer is out
constexpr size_t kKeptCapacity = size_t{64} << 10;
constexpr std::chrono::milliseconds kSuccessorIdle{1000};   // a client that is quiet for so long sends nothing just now

TimePoint now() { return std::chrono::steady_clock::now(); }

HttpError no_memory() { return {503, "there is no memory for this request now"}; }

}  // namespace

Connection::Connection(std::shared_ptr<IoThread> thread, IoStream stream, std::string peer)
    : thread_(std::move(thread)), stream_(std::move(stream)), peer_(std::move(peer)) {}

void Connection::start() {
  if (!stream_.has_tls()) return await_request();
  state_ = State::kHandshake;
  since_ = now();
  stream_.async_handshake(shared_from_this());
}

void Connection::on_handshake(const boost::system::error_code& error) {
  if (state_ == State::kClosed) return;
  if (!error) return within_memory([this] { await_request(); });
  log_debug("{}: no TLS: {}", peer_, error.message());
  if (is_plain_http(static_cast<unsigned long>(error.value()))) {  // who typed http:// learns it
    constexpr std::string_view kWrongScheme =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 34\r\nConnection: close\r\n\r\n"
        "this port speaks HTTPS, not HTTP.\n";
    boost::system::error_code ignored;
    stream_.socket().write_some(asio::buffer(kWrongScheme), ignored);
  }
  close(ExchangeEnd::kClientGone);
}

void Connection::await_request() {
  state_ = State::kHead;
  parser_ = std::make_unique<RequestParser>(config().limits);
  since_ = now();
  read();
}

template <class Step>
void Connection::within_memory(Step step) {
  try {
    step();
  } catch (const std::bad_alloc&) {
    close(ExchangeEnd::kClientGone);
  }
}

// The request that is being read or handled fails alone: by a status, unless its answer has begun.
template <class Step>
void Connection::answer_within_memory(Step step) {
  try {
    step();
  } catch (const std::bad_alloc&) {
    if (!exchange_) return fail_request(no_memory());
    exchange_->reply(thread_->server().handler.protocol_error(no_memory()));
  }
}

// ---- reading --------------------------------------------------------------------------------------------------------

void Connection::read() {
  if (is_reading_ || saw_end_of_input_ || state_ == State::kClosed) return;
  is_reading_ = true;
  stream_.async_read(thread_->scratch(), shared_from_this());
}

void Connection::on_read(const boost::system::error_code& error, std::string_view bytes) {
  is_reading_ = false;
  if (state_ == State::kClosed) return;
  if (error || bytes.empty() || fault_happens("net.read")) return on_end_of_input();
  within_memory([&] {
    try {
      may_run_out_of_memory("net.request");
      on_bytes(bytes);
    } catch (const std::bad_alloc&) {
      on_lost_input();
    }
  });
}

// The answers of earlier requests still go out.
void Connection::on_lost_input() {
  if (state_ == State::kClosed) return;
  has_lost_input_ = true;
  input_.clear();
  if (!exchange_) fail_request(no_memory());
  read();
}

void Connection::on_bytes(std::string_view bytes) {
  switch (state_) {
    case State::kHandshake:
    case State::kClosed: return;
    case State::kLingering: return read();   // not wanted any more
    case State::kAnswering:
      if (!has_lost_input_) input_.append(bytes);
      if (input_.size() < kMaxPipelinedBytes) read();
      return;
    case State::kHead:
      if (!parser_->has_begun()) since_ = now();
      input_.append(bytes);
      return advance();
    case State::kBody:
      input_.append(bytes);
      return advance();
  }
}

void Connection::on_end_of_input() {
  saw_end_of_input_ = true;
  // A complete answer is still delivered to a client that only closed its sending half.
  if (state_ == State::kAnswering && exchange_->is_finished()) return;
  close(ExchangeEnd::kClientGone);
}

void Connection::advance() {
  while (state_ == State::kHead || state_ == State::kBody) {
    const auto progress = parser_->feed(input_);
    if (!progress) return fail_request(progress.error());
    switch (*progress) {
      case RequestParser::Progress::kNeedMore: return read();
      case RequestParser::Progress::kHeadDone: on_head(); break;
      case RequestParser::Progress::kComplete: dispatch(); break;
    }
  }
  read();
}

void Connection::on_head() {
  state_ = State::kBody;
  since_ = now();
  RequestHead head = parser_->head();
  head.peer = peer_;
  head.peer_is_loopback = is_loopback_address(peer_);
  if (auto refusal = thread_->server().handler.refuse(head)) {
    begin_exchange(head, head.keep_alive && !head.has_body);
    return answer_within_memory([&] { exchange_->reply(std::move(*refusal)); });
  }
  if (head.has_body && head.expects_continue && input_.empty() && !is_writing_) {
    output_ = "HTTP/1.1 100 Continue\r\n\r\n";
    write();
  }
}

void Connection::dispatch() {
  HttpRequest request{parser_->head(), parser_->take_body()};
  request.head.peer = peer_;
  request.head.peer_is_loopback = is_loopback_address(peer_);
  const bool wants_web_socket =
      equal_ignoring_case(request.head.field("upgrade").value_or(""), "websocket") && input_.empty();
  if (wants_web_socket && thread_->server().handler.takes_web_socket(request.head)) {
    state_ = State::kClosed;   // what follows on the socket is the WebSocket's
    thread_->adopt_web_socket(request.head, std::move(stream_));
    return thread_->forget(shared_from_this());
  }
  begin_exchange(request.head, request.head.keep_alive);
  answer_within_memory([&] { thread_->server().handler.handle(std::move(request), exchange_); });
}

void Connection::begin_exchange(const RequestHead& head, bool keep_alive) {
  // An HTTP/1.0 stream ends with its connection; such clients are too rare to treat whole answers differently.
  if (thread_->server().is_closing_after_answers || head.is_http10) keep_alive = false;
  exchange_ = std::make_shared<ExchangeState>(
      ExchangeTraits{.is_http10 = head.is_http10, .is_head = head.method == "HEAD", .keep_alive = keep_alive,
                     .max_pending_bytes = config().max_pending_bytes, .peer = peer_},
      shared_from_this());
  ++thread_->server().num_exchanges;
  state_ = State::kAnswering;
  parser_.reset();
}

void Connection::fail_request(const HttpError& error) {
  begin_exchange({}, false);
  within_memory([&] { exchange_->reply(thread_->server().handler.protocol_error(error)); });
}

// ---- writing --------------------------------------------------------------------------------------------------------

void Connection::output_ready() noexcept { thread_->add_ready(shared_from_this()); }

void Connection::flush() {
  try {
    owes_flush_ = false;
    do_flush();
  } catch (const std::bad_alloc&) {
    owes_flush_ = true;
  }
}

void Connection::do_flush() {
  if (!exchange_ || state_ == State::kClosed) return;
  if (exchange_->is_overflowing()) return close(ExchangeEnd::kSlowReader);
  if (is_writing_) return;
  const ExchangeState::Taken taken = exchange_->take_output(output_, now());
  if (!output_.empty()) return write();
  if (taken.is_finished) within_memory([this] { finish_answer(); });
}

void Connection::write() {
  if (!is_writing_) last_write_ = now();
  is_writing_ = false;   // until it is under way: there may be no memory for it
  stream_.async_write_some(std::string_view(output_).substr(num_written_), shared_from_this());
  is_writing_ = true;
}

void Connection::on_written(const boost::system::error_code& error, size_t num_bytes) {
  if (state_ == State::kClosed) return;
  if (error || fault_happens("net.write")) return close(ExchangeEnd::kClientGone);
  num_written_ += num_bytes;
  last_write_ = now();
  if (num_written_ < output_.size()) {
    try {
      return write();
    } catch (const std::bad_alloc&) {
      owes_flush_ = true;
      return;
    }
  }
  is_writing_ = false;
  num_written_ = 0;
  output_.clear();
  if (output_.capacity() > kKeptCapacity) output_.shrink_to_fit();
  flush();
}

void Connection::finish_answer() {
  const bool keep_alive = exchange_->keep_alive() && !saw_end_of_input_;
  const std::shared_ptr<ExchangeState> exchange = std::move(exchange_);
  exchange_.reset();
  --thread_->server().num_exchanges;
  exchange->end(ExchangeEnd::kSent);
  if (saw_end_of_input_ || !thread_->server().is_accepting) return close(ExchangeEnd::kSent);
  if (!keep_alive || has_lost_input_) return linger();
  if (input_.empty()) return await_request();
  state_ = State::kHead;
  since_ = now();
  parser_ = std::make_unique<RequestParser>(config().limits);
  advance();
}

// Closing at once while unread bytes arrive would reset the connection, and the client might never see the answer.
void Connection::linger() {
  stream_.shut_down_sending(shared_from_this());
  state_ = State::kLingering;
  since_ = now();
  input_ = {};
  read();
}

// ---- time and end --------------------------------------------------------------------------------------------------

void Connection::sweep(TimePoint at) {
  within_memory([&] { do_sweep(at); });
}

void Connection::do_sweep(TimePoint at) {
  const Duration elapsed = at - since_;
  switch (state_) {
    case State::kClosed: return;
    case State::kHandshake:
      if (elapsed > config().header_timeout) close(ExchangeEnd::kClientGone);
      return;
    case State::kHead:
      if (parser_->has_begun() && elapsed > config().header_timeout)
        fail_request({408, "the request's head took too long"});
      else if (!parser_->has_begun() && elapsed > idle_timeout() && !has_input_waiting()) close(ExchangeEnd::kSent);
      return;
    case State::kBody: {
      const auto wanted = static_cast<size_t>(static_cast<double>(config().min_body_bytes_per_s) * seconds(elapsed));
      if (elapsed > config().body_grace && parser_->num_body_bytes() < wanted) {
        fail_request({408, "the request's body came too slowly"});
      }
      return;
    }
    case State::kAnswering:
      if (is_writing_ && at - last_write_ > config().write_timeout) close(ExchangeEnd::kSlowReader);
      else if (!is_writing_ && (exchange_->ping_if_silent(at, config().ping_interval) || owes_flush_)) flush();
      return;
    case State::kLingering:
      if (elapsed > config().linger) close(ExchangeEnd::kSent);
      return;
  }
}

std::chrono::milliseconds Connection::idle_timeout() const {
  return thread_->server().has_successor ? std::min(kSuccessorIdle, config().idle_timeout) : config().idle_timeout;
}

// What has arrived while this thread was busy is read next: whoever sent it was not quiet.
bool Connection::has_input_waiting() {
  boost::system::error_code ignored;   // of a broken connection nothing waits
  return stream_.socket().available(ignored) > 0;
}

void Connection::close_if_idle() {
  if (state_ == State::kHead && !parser_->has_begun()) close(ExchangeEnd::kShutdown);
}

void Connection::close(ExchangeEnd how) {
  if (state_ == State::kClosed) return;
  const std::shared_ptr<Connection> self = shared_from_this();
  state_ = State::kClosed;
  boost::system::error_code ignored;   // closing is all that is left to do
  if (how == ExchangeEnd::kSlowReader) stream_.socket().set_option(asio::socket_base::linger(true, 0), ignored);
  stream_.socket().close(ignored);
  --thread_->server().num_connections;
  if (exchange_) {
    const std::shared_ptr<ExchangeState> exchange = std::move(exchange_);
    exchange_.reset();
    --thread_->server().num_exchanges;
    exchange->end(how);
  }
  thread_->forget(self);
}

}  // namespace gale
