#include "channel/socket_channel.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <type_traits>

#include "base/fault_point.h"
#include "base/log.h"
#include "channel/codec.h"

namespace gale {
namespace {

// What is the same at both ends. `Base`: the interface; `Out`, `In`: what this end sends and receives.
template <class Base, class Out, class In>
class SocketEnd final : public Base {
 public:
  SocketEnd(UniqueFd socket, SocketChannelOptions options)
      : options_(std::move(options)), socket_(std::move(socket), kMaxMessageBytes, options_.patience) {
    const Hello hello{.build_id = options_.build_id};
    const std::string bytes = kIsFront ? encode_hello_to_engine(hello) : encode_hello_to_front(hello);
    if (Status sent = socket_.send(bytes); !sent) log_debug("{}", sent.error().message);   // receive() tells, too
  }

  Status send(const Out& message) override { return socket_.send(encode(message)); }

  Result<std::vector<In>> receive(std::chrono::milliseconds timeout) override {
    auto messages = receive_messages(timeout);
    if (!messages && messages.error().code != ErrorCode::kUnavailable) socket_.shut();
    return messages;
  }

 private:
  static constexpr bool kIsFront = std::is_same_v<Base, FrontChannel>;
  static constexpr std::string_view kPeer = kIsFront ? "engine" : "front";

  Result<std::vector<In>> receive_messages(std::chrono::milliseconds timeout) {
    GALE_ASSIGN(const std::vector<std::string> frames, socket_.receive(timeout));
    std::vector<In> messages;
    if (!frames.empty()) may_run_out_of_memory(kIsFront ? "channel.from_engine" : "channel.from_front");
    messages.reserve(frames.size());
    for (const std::string& frame : frames) {
      if constexpr (kIsFront) {
        GALE_TRY(accept(decode_to_front(frame), messages));
      } else {
        GALE_TRY(accept(decode_to_engine(frame), messages));
      }
    }
    return messages;
  }

  template <class Wire>
  Status accept(Result<Wire> decoded, std::vector<In>& messages) {
    if (!decoded) return tl::unexpected<Error>(std::move(decoded).error());
    return std::visit(
        [&](auto&& kind) -> Status {
          using Kind = std::decay_t<decltype(kind)>;
          if constexpr (std::is_same_v<Kind, Hello>) {
            return greet(kind);
          } else if (!has_greeted_) {
            return fail(ErrorCode::kCorrupt, "channel: the {} began without saying its protocol version", kPeer);
          } else if constexpr (std::is_same_v<Kind, UnknownMessage>) {
            log_warning("channel: passed over a message of a kind this build does not know");
          } else {
            messages.emplace_back(std::forward<decltype(kind)>(kind));
          }
          return {};
        },
        *std::move(decoded));
  }

  Status greet(const Hello& hello) {
    if (hello.protocol_version != kProtocolVersion) {
      return fail(ErrorCode::kUnimplemented,
                  "the {} speaks channel protocol {}, this process speaks {}: start both from the same build", kPeer,
                  hello.protocol_version, kProtocolVersion);
    }
    if (hello.build_id != options_.build_id) {
      log_warning("channel: the {} is build '{}', this process is build '{}'", kPeer, hello.build_id,
                  options_.build_id);
    }
    has_greeted_ = true;
    return {};
  }

  const SocketChannelOptions options_;
  FramedSocket socket_;
  bool has_greeted_ = false;   // of the receiving thread
};

}  // namespace

Result<SocketPair> make_socket_pair() {
  int fds[2];
  const bool has_none = fault_happens("channel.socketpair") && (errno = EMFILE) != 0;
  if (has_none || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return fail(ErrorCode::kInternal, "cannot make a socket pair: {}", std::strerror(errno));
  }
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::unique_ptr<FrontChannel> make_front_socket_channel(UniqueFd socket, SocketChannelOptions options) {
  return std::make_unique<SocketEnd<FrontChannel, ToEngine, ToFront>>(std::move(socket), std::move(options));
}

std::unique_ptr<EngineChannel> make_engine_socket_channel(UniqueFd socket, SocketChannelOptions options) {
  return std::make_unique<SocketEnd<EngineChannel, ToFront, ToEngine>>(std::move(socket), std::move(options));
}

Result<std::unique_ptr<EngineChannel>> open_inherited_engine_channel(int fd, SocketChannelOptions options) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
    return fail_param(ErrorCode::kInvalidArgument, "channel-fd",
                      "descriptor {} is not a connected stream socket; the front starts the engine with one", fd);
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return make_engine_socket_channel(UniqueFd(fd), std::move(options));
}

}  // namespace gale
