#include "net/io_stream.h"

#include <boost/asio/buffer.hpp>
#include <utility>

namespace gale {
namespace {

constexpr size_t kTlsReadBytes = size_t{16} << 10;  // a record of TLS

}  // namespace

IoSocket& IoStream::socket() {
  auto* tls = std::get_if<TlsSocket>(&stream_);
  return tls != nullptr ? tls->next_layer() : std::get<IoSocket>(stream_);
}

void IoStream::async_handshake(std::shared_ptr<IoListener> listener) {
  std::get<TlsSocket>(stream_).async_handshake(
      asio::ssl::stream_base::server,
      in_memory(memory_->read, [listener = std::move(listener)](const boost::system::error_code& error) {
        listener->on_handshake(error);
      }));
}

void IoStream::async_read(std::string& scratch, std::shared_ptr<IoListener> listener) {
  if (auto* tls = std::get_if<TlsSocket>(&stream_)) {
    tls_input_.resize(kTlsReadBytes);
    tls->async_read_some(
        asio::buffer(tls_input_),
        in_memory(memory_->read, [this, listener = std::move(listener)](const auto& error, size_t num_bytes) {
          const bool is_end = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
          listener->on_read(is_end ? boost::system::error_code() : error,
                            std::string_view(tls_input_).substr(0, num_bytes));
        }));
    return;
  }
  std::get<IoSocket>(stream_).async_wait(
      IoSocket::wait_read,
      in_memory(memory_->read, [this, &scratch, listener = std::move(listener)](boost::system::error_code error) {
        size_t num_bytes = 0;
        if (!error) num_bytes = socket().read_some(asio::buffer(scratch), error);
        if (error == asio::error::would_block || error == asio::error::interrupted) {
          return async_read(scratch, listener);
        }
        if (error == asio::error::eof) error = {};
        listener->on_read(error, std::string_view(scratch).substr(0, num_bytes));
      }));
}

void IoStream::async_write_some(std::string_view bytes, std::shared_ptr<IoListener> listener) {
  auto handler =
      in_memory(memory_->write, [listener = std::move(listener)](const boost::system::error_code& error, size_t num) {
        listener->on_written(error, num);
      });
  const auto buffer = asio::buffer(bytes.data(), bytes.size());
  std::visit([&](auto& stream) { stream.async_write_some(buffer, std::move(handler)); }, stream_);
}

void IoStream::shut_down_sending(std::shared_ptr<IoListener> owner) {
  const auto end_tcp = [this, owner = std::move(owner)](const boost::system::error_code&) {
    boost::system::error_code ignored;  // the peer may be gone already: then reading says so
    socket().shutdown(IoSocket::shutdown_send, ignored);
  };
  auto* tls = std::get_if<TlsSocket>(&stream_);
  if (tls == nullptr) return end_tcp({});
  tls->async_shutdown(end_tcp);
}

}  // namespace gale
