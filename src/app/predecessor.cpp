#include "app/predecessor.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "config/config.h"

namespace gale {
namespace {

constexpr std::chrono::milliseconds kAnswerTime{10'000};   // it looks 20 times a second
constexpr std::chrono::milliseconds kReserve{5'000};       // beyond what it said it needs to end
constexpr std::chrono::milliseconds kPoll{20};

UniqueFd open_process(pid_t pid) {
  return UniqueFd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
}

// A socket that is connected to the door; none if nobody is behind it.
Result<UniqueFd> knock(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return UniqueFd();
    return fail(ErrorCode::kForbidden, "{}: {}", path, std::strerror(errno));
  }
  if (!S_ISSOCK(found.st_mode) || found.st_uid != ::geteuid())
    return fail(ErrorCode::kForbidden, "{} belongs to user {}: only that user can take over the server behind it", path,
                found.st_uid);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return UniqueFd();   // no server can have such a door
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return socket;
  if (errno == ECONNREFUSED || errno == ENOENT) return UniqueFd();   // what a dead server left behind
  return fail(ErrorCode::kUnavailable, "cannot reach the running gale at {}: {}", path, std::strerror(errno));
}

}  // namespace

Predecessor::Predecessor(UniqueFd socket, Peer peer)
    : socket_(std::move(socket)), peer_(peer), process_(open_process(peer.pid)) {}

Result<std::unique_ptr<Predecessor>> Predecessor::find(const std::string& dir, int port) {
  const Status is_ours = check_runtime_dir(dir);
  if (!is_ours && is_ours.error().code == ErrorCode::kNotFound) return std::unique_ptr<Predecessor>();
  GALE_TRY(is_ours);
  GALE_ASSIGN(UniqueFd socket, knock(takeover_path(dir, port)));
  if (!socket.is_open()) return std::unique_ptr<Predecessor>();
  GALE_ASSIGN(const Peer peer, peer_of(socket.get()));
  if (peer.uid != ::geteuid())
    return fail(ErrorCode::kForbidden, "the server on port {} is run by user {}, not by {}", port, peer.uid,
                ::geteuid());
  std::unique_ptr<Predecessor> out(new Predecessor(std::move(socket), peer));
  GALE_TRY(out->greet());
  return out;
}

Result<TakeoverMessage> Predecessor::ask(const Json& body) {
  GALE_TRY(send_takeover(socket_.get(), body));
  Result<TakeoverMessage> answer = receive_takeover(socket_.get(), kAnswerTime);
  if (!answer && answer.error().code == ErrorCode::kDeadline)
    return fail(ErrorCode::kDeadline,
                "the running gale (process {}) does not answer within {} s: it hangs, and is left alone; end it "
                "yourself, then start this one again",
                peer_.pid, kAnswerTime.count() / 1000);
  if (answer && answer->body.contains("error"))
    return fail(ErrorCode::kUnavailable, "the running gale (process {}) does not hand over: {}", peer_.pid,
                text_in(answer->body, "error"));
  return answer;
}

Status Predecessor::greet() {
  GALE_ASSIGN(const TakeoverMessage answer, ask({{"takeover", kTakeoverVersion}, {"version", kVersion}}));
  const Json& facts = answer.body;
  const int64_t version = number_in(facts, "takeover");
  if (version != kTakeoverVersion)
    return fail(ErrorCode::kUnavailable,
                "the running gale (process {}) hands over by version {}, this one by {}: stop that one, then start "
                "this one",
                peer_.pid, version, kTakeoverVersion);
  host_ = text_in(facts, "host");
  patience_ = std::chrono::milliseconds(number_in(facts, "patience_ms"));
  if (const auto engine = facts.find("engine"); engine != facts.end() && engine->is_object()) {
    engine_ = ExpectedEngine{.max_model_len = static_cast<int>(number_in(*engine, "max_model_len")),
                             .capacity = {.max_num_seqs = static_cast<int>(number_in(*engine, "max_num_seqs", 1)),
                                          .num_cache_tokens = number_in(*engine, "num_cache_tokens")}};
    memory_bytes_ = std::max<int64_t>(0, number_in(*engine, "memory_bytes"));
  }
  return {};
}

Result<std::vector<int>> Predecessor::take_listeners() {
  std::vector<UniqueFd> taken;
  bool has_more = true;
  while (has_more) {
    Result<TakeoverMessage> answer =
        taken.empty() ? ask({{"want", "sockets"}}) : receive_takeover(socket_.get(), kAnswerTime);
    if (!answer) return tl::unexpected(answer.error());
    if (answer->descriptors.empty()) return fail(ErrorCode::kCorrupt, "the running gale gave no sockets");
    for (UniqueFd& fd : answer->descriptors) taken.push_back(std::move(fd));
    has_more = flag_in(answer->body, "more");
  }
  std::vector<int> out;
  for (UniqueFd& fd : taken) out.push_back(fd.release());
  return out;
}

Status Predecessor::serving() { return send_takeover(socket_.get(), {{"serving", true}}); }

bool Predecessor::has_ended() const {
  pollfd end{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&end, 1, 0) > 0;       // it says nothing any more: what comes is the end
}

bool Predecessor::wait_for_end() {
  const auto give_up = std::chrono::steady_clock::now() + patience_ + kReserve;
  while (!has_ended()) {
    if (!is_awaited_) return false;
    std::this_thread::sleep_for(kPoll);
    if (std::chrono::steady_clock::now() < give_up || !process_.is_open()) continue;
    log_warning("process {} should have left by now: it hangs and is killed", peer_.pid);
    if (::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0) != 0)
      log_error("process {} cannot be killed: {}", peer_.pid, std::strerror(errno));
    while (is_awaited_ && !has_ended()) std::this_thread::sleep_for(kPoll);
  }
  return true;
}

}  // namespace gale
