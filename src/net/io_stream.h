#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "net/call_memory.h"

// Internal to net.
namespace gale {

namespace asio = boost::asio;
using IoExecutor = asio::io_context::executor_type;
using IoSocket = asio::basic_stream_socket<asio::ip::tcp, IoExecutor>;
using TlsSocket = asio::ssl::stream<IoSocket>;

// Who is told what became of a stream's calls. Kept alive until then.
class IoListener {
 public:
  virtual ~IoListener() = default;
  virtual void on_handshake(const boost::system::error_code& error) = 0;
  // Bytes are good until this returns; none and no error: the peer has ended its side.
  virtual void on_read(const boost::system::error_code& error, std::string_view bytes) = 0;
  virtual void on_written(const boost::system::error_code& error, size_t num_bytes) = 0;
};

// What a connection reads and writes: TCP, or TLS over it. One read and one write may be under way; over plain TCP they
// take no memory, so that whoever has a connection can go on with it.
class IoStream {
 public:
  explicit IoStream(IoSocket socket) : stream_(std::move(socket)) {}
  // The stream keeps what it needs of the context.
  IoStream(IoSocket socket, asio::ssl::context& tls) : stream_(TlsSocket(std::move(socket), tls)) {}

  [[nodiscard]] bool has_tls() const { return std::holds_alternative<TlsSocket>(stream_); }
  // TLS only, before anything else.
  void async_handshake(std::shared_ptr<IoListener> listener);
  // Plain sockets read into `scratch`, which all connections of a thread share: an idle one needs no buffer.
  void async_read(std::string& scratch, std::shared_ptr<IoListener> listener);
  void async_write_some(std::string_view bytes, std::shared_ptr<IoListener> listener);
  // Ends our side: in TLS by its notice, then in TCP. Reading may go on. Nobody is told; `owner` is kept alive.
  void shut_down_sending(std::shared_ptr<IoListener> owner);
  [[nodiscard]] IoSocket& socket();
  // The stream itself, for a WebSocket; nothing may be under way.
  [[nodiscard]] std::variant<IoSocket, TlsSocket> take() { return std::move(stream_); }

 private:
  struct Memory {
    CallMemory read, write;
  };
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();   // stays where it is when the stream moves
  std::variant<IoSocket, TlsSocket> stream_;
  std::string tls_input_;              // what TLS reads into: it cannot say beforehand that something is there
};

}  // namespace gale
