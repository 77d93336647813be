#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

// Internal to net.
namespace gale {

namespace asio = boost::asio;
using IoExecutor = asio::io_context::executor_type;
using IoSocket = asio::basic_stream_socket<asio::ip::tcp, IoExecutor>;
using TlsSocket = asio::ssl::stream<IoSocket>;

// What a connection reads and writes: TCP, or TLS over it. One read and one write may be under way. Handlers keep
// alive whoever owns the stream.
class IoStream {
 public:
  using ReadHandler = std::function<void(const boost::system::error_code&, std::string_view bytes)>;
  using WriteHandler = std::function<void(const boost::system::error_code&, size_t num_bytes)>;
  using DoneHandler = std::function<void(const boost::system::error_code&)>;

  explicit IoStream(IoSocket socket) : stream_(std::move(socket)) {}
  // The stream keeps what it needs of the context.
  IoStream(IoSocket socket, asio::ssl::context& tls) : stream_(TlsSocket(std::move(socket), tls)) {}

  [[nodiscard]] bool has_tls() const { return std::holds_alternative<TlsSocket>(stream_); }
  // TLS only, before anything else.
  void async_handshake(DoneHandler handler);
  // Plain sockets read into `scratch`, which all connections of a thread share: an idle one needs no buffer. Bytes are
  // good until the handler returns; none and no error: the peer has ended its side.
  void async_read(std::string& scratch, ReadHandler handler);
  void async_write_some(std::string_view bytes, WriteHandler handler);
  // Ends our side: in TLS by its notice, then in TCP. Reading may go on.
  void shut_down_sending(DoneHandler handler);
  [[nodiscard]] IoSocket& socket();
  // The stream itself, for a WebSocket; nothing may be under way.
  [[nodiscard]] std::variant<IoSocket, TlsSocket> take() { return std::move(stream_); }

 private:
  std::variant<IoSocket, TlsSocket> stream_;
  std::string tls_input_;              // what TLS reads into: it cannot say beforehand that something is there
};

}  // namespace gale
