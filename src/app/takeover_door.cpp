#include "app/takeover_door.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "config/config.h"

namespace gale {
namespace {

constexpr int kBacklog = 8;
constexpr std::chrono::milliseconds kNow{0};

std::pair<dev_t, ino_t> identity_of(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return {};
  return {found.st_dev, found.st_ino};
}

Json refusal(const std::string& why) { return {{"takeover", kTakeoverVersion}, {"error", why}}; }

Status make_runtime_dir(const std::string& dir) {
  std::error_code trouble;
  const std::filesystem::path parent = std::filesystem::path(dir).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, trouble);
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(ErrorCode::kForbidden, "cannot make the runtime folder {}: {}", dir, std::strerror(errno));
  return check_runtime_dir(dir);
}

Status send_listeners(int successor, const std::vector<UniqueFd>& listeners) {
  for (size_t begin = 0; begin < listeners.size(); begin += kMaxSocketsInMessage) {
    std::vector<int> some;
    for (size_t i = begin; i < listeners.size() && some.size() < kMaxSocketsInMessage; ++i)
      some.push_back(listeners[i].get());
    const bool has_more = begin + some.size() < listeners.size();
    GALE_TRY(send_takeover(successor, {{"sockets", some.size()}, {"more", has_more}}, some));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<TakeoverDoor>> TakeoverDoor::open(const std::string& dir, int port) {
  GALE_TRY(make_runtime_dir(dir));
  const std::string path = takeover_path(dir, port);
  const std::string temporary = fmt::format("{}.{}", path, ::getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (temporary.size() >= sizeof address.sun_path)
    return fail(ErrorCode::kInvalidArgument, "{} is too long for a socket's name: choose a shorter --runtime-dir",
                path);
  std::memcpy(address.sun_path, temporary.data(), temporary.size());
  UniqueFd listening(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::unlink(temporary.c_str());
  const bool is_there = listening.is_open() &&
                        ::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                        ::chmod(temporary.c_str(), 0600) == 0 && ::listen(listening.get(), kBacklog) == 0 &&
                        ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!is_there) return fail(ErrorCode::kForbidden, "cannot listen at {}: {}", path, std::strerror(errno));
  return std::unique_ptr<TakeoverDoor>(new TakeoverDoor(path, std::move(listening)));
}

TakeoverDoor::TakeoverDoor(std::string path, UniqueFd listening)
    : path_(std::move(path)), listening_(std::move(listening)), identity_(identity_of(path_)) {}

TakeoverDoor::~TakeoverDoor() {
  if (identity_of(path_) == identity_) ::unlink(path_.c_str());
}

// One that has gone is noticed before the next one is asked to wait for it.
std::optional<Peer> TakeoverDoor::look(const TakeoverHost& host) {
  if (std::optional<Peer> successor = hear(host)) return successor;
  let_in();
  return hear(host);
}

std::optional<Peer> TakeoverDoor::hear(const TakeoverHost& host) {
  while (successor_.is_open()) {
    const Result<TakeoverMessage> said = receive_takeover(successor_.get(), kNow);
    if (!said && said.error().code == ErrorCode::kDeadline) return std::nullopt;
    if (said && answer(host, said->body)) return peer_;
    if (said) continue;
    log_warning("process {}, which wanted to take over, has gone: this server goes on", peer_.pid);
    successor_.reset();
  }
  return std::nullopt;
}

void TakeoverDoor::let_in() {
  while (true) {
    UniqueFd caller(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!caller.is_open()) return;
    const Result<Peer> peer = peer_of(caller.get());
    const bool is_ours = peer && (peer->uid == ::geteuid() || peer->uid == 0);
    if (!is_ours) {
      log_warning("user {} may not take over this server", peer ? static_cast<int64_t>(peer->uid) : -1);
      continue;
    }
    if (successor_.is_open()) {
      const std::string why = fmt::format("process {} is taking over already", peer_.pid);
      if (!send_takeover(caller.get(), refusal(why))) log_debug("who came second did not wait for an answer");
      continue;
    }
    successor_ = std::move(caller);
    peer_ = *peer;
    is_greeted_ = false;
  }
}

bool TakeoverDoor::answer(const TakeoverHost& host, const Json& said) {
  const auto reply = [this](const Status& sent) {
    if (sent) return;
    log_warning("process {} did not hear the answer about taking over: {}", peer_.pid, sent.error().message);
    successor_.reset();
  };
  const int64_t version = number_in(said, "takeover", is_greeted_ ? kTakeoverVersion : 0);
  if (version != kTakeoverVersion) {
    reply(send_takeover(successor_.get(), refusal(fmt::format("gale {} hands over by version {}, not by {}", kVersion,
                                                              kTakeoverVersion, version))));
    successor_.reset();
    return false;
  }
  if (!is_greeted_) {
    is_greeted_ = true;
    log_info("process {} (gale {}) is going to take over", peer_.pid, text_in(said, "version"));
    Json facts = host.facts();
    facts["takeover"] = kTakeoverVersion;
    facts["version"] = kVersion;
    reply(send_takeover(successor_.get(), facts));
    return false;
  }
  if (flag_in(said, "serving")) return true;
  reply(send_listeners(successor_.get(), host.listeners()));
  return false;
}

}  // namespace gale
