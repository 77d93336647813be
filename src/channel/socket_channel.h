#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "channel/channel.h"
#include "channel/framed_socket.h"

namespace gale {

// The channel between two processes: a connected Unix stream socket that the front makes and the engine inherits as a
// file descriptor, so that no name in the file system can go stale. Each message is one frame; each end's first one is
// its Hello. An end that sees another protocol version refuses with kUnimplemented, one that sees a malformed message
// with kCorrupt; either ends the connection.
struct SocketPair {
  UniqueFd front, engine;   // both are closed on exec; a launcher passes the engine's on with dup2
};
[[nodiscard]] Result<SocketPair> make_socket_pair();

struct SocketChannelOptions {
  std::string build_id;                                // told to the peer; a difference is logged, not refused
  std::chrono::milliseconds patience{5000};            // a peer that reads nothing for so long counts as gone
};

// Take the descriptor over, and send the Hello at once. Trouble shows with the first send or receive.
[[nodiscard]] std::unique_ptr<FrontChannel> make_front_socket_channel(UniqueFd socket, SocketChannelOptions options);
[[nodiscard]] std::unique_ptr<EngineChannel> make_engine_socket_channel(UniqueFd socket, SocketChannelOptions options);

// For the engine process: the descriptor it was started with. kInvalidArgument if it is not a stream socket.
[[nodiscard]] Result<std::unique_ptr<EngineChannel>> open_inherited_engine_channel(int fd,
                                                                                   SocketChannelOptions options);

}  // namespace gale
