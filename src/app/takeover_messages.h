#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gale {

// What a running server and the one that takes its place say to each other: JSON objects as packets of a local socket,
// descriptors beside them.
//
//   successor                                  running server
//   {"takeover": 1, "version"}             ->
//                                          <-  {"takeover": 1, "version", "host", "patience_ms", "engine": {} or null}
//   … loads, where both engines fit …
//   {"want": "sockets"}                    ->
//                                          <-  {"sockets": n, "more": false} with n descriptors
//   {"serving": true}                      ->  it accepts nobody from here on, and ends when all have been answered;
//                                              the connection closes with the process
//
// In place of any answer: {"takeover": 1, "error": "why not"}.
inline constexpr int kTakeoverVersion = 1;
inline constexpr int kMaxSocketsInMessage = 64;

struct TakeoverMessage {
  Json body;
  std::vector<UniqueFd> descriptors;
};

// kUnavailable: the other end is gone.
[[nodiscard]] Status send_takeover(int socket, const Json& body, const std::vector<int>& descriptors = {});
// kUnavailable: the other end is gone; kDeadline: nothing came in time; kCorrupt: no JSON object.
[[nodiscard]] Result<TakeoverMessage> receive_takeover(int socket, std::chrono::milliseconds timeout);

// A field of a message, or `fallback` where it is missing or of another type.
[[nodiscard]] int64_t number_in(const Json& body, const char* key, int64_t fallback = 0);
[[nodiscard]] std::string text_in(const Json& body, const char* key);
[[nodiscard]] bool flag_in(const Json& body, const char* key);

struct Peer {
  pid_t pid = 0;                       // 0: not of our process namespace
  uid_t uid = 0;
};
[[nodiscard]] Result<Peer> peer_of(int socket);

// Where the servers of this user meet. None is given: /run/gale for root, /run/user/UID/gale or /tmp/gale-UID for
// others.
[[nodiscard]] std::string runtime_dir(const std::string& given);
[[nodiscard]] std::string takeover_path(const std::string& dir, int port);
// kForbidden unless the folder is this user's own and nobody else may write in it; kNotFound if there is none.
[[nodiscard]] Status check_runtime_dir(const std::string& dir);

}  // namespace gale
