#include "net/io_stream.h"

#include <boost/asio/buffer.hpp>
#include <new>

namespace gale {
namespace {

constexpr size_t kTlsReadBytes = size_t{16} << 10;  // a record of TLS

}  // namespace

IoSocket& IoStream::socket() {
  auto* tls = std::get_if<TlsSocket>(&stream_);
  return tls != nullptr ? tls->next_layer() : std::get<IoSocket>(stream_);
}

void IoStream::async_handshake(DoneHandler handler) {
  std::get<TlsSocket>(stream_).async_handshake(asio::ssl::stream_base::server, std::move(handler));
}

void IoStream::async_read(std::string& scratch, ReadHandler handler) {
  if (auto* tls = std::get_if<TlsSocket>(&stream_)) {
    tls_input_.resize(kTlsReadBytes);
    tls->async_read_some(
        asio::buffer(tls_input_), [this, handler = std::move(handler)](const auto& error, size_t num_bytes) {
          const bool is_end = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
          handler(is_end ? boost::system::error_code() : error, std::string_view(tls_input_).substr(0, num_bytes));
        });
    return;
  }
  IoSocket& socket = std::get<IoSocket>(stream_);
  socket.async_wait(IoSocket::wait_read,
                    [this, &scratch, handler = std::move(handler)](boost::system::error_code error) mutable {
                      size_t num_bytes = 0;
                      if (!error) num_bytes = this->socket().read_some(asio::buffer(scratch), error);
                      if (error == asio::error::would_block || error == asio::error::interrupted) {
                        try {
                          return async_read(scratch, handler);
                        } catch (const std::bad_alloc&) {   // whoever waits is told
                          error = asio::error::no_memory;
                        }
                      }
                      if (error == asio::error::eof) error = {};
                      handler(error, std::string_view(scratch).substr(0, num_bytes));
                    });
}

void IoStream::async_write_some(std::string_view bytes, WriteHandler handler) {
  const auto buffer = asio::buffer(bytes.data(), bytes.size());
  std::visit([&](auto& stream) { stream.async_write_some(buffer, std::move(handler)); }, stream_);
}

void IoStream::shut_down_sending(DoneHandler handler) {
  const auto end_tcp = [this, handler = std::move(handler)](const boost::system::error_code& error) {
    boost::system::error_code ignored;  // the peer may be gone already: then reading says so
    socket().shutdown(IoSocket::shutdown_send, ignored);
    handler(error);
  };
  auto* tls = std::get_if<TlsSocket>(&stream_);
  if (tls == nullptr) return end_tcp({});
  tls->async_shutdown(end_tcp);
}

}  // namespace gale
