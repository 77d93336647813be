// What a server that calls itself the Hub answers: listings, redirects, sizes, contents.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "fuzz_targets.h"
#include "hub/hub_cache.h"
#include "hub/hub_client.h"

namespace gale {
namespace {

// Gives each connection the next of its answers and closes it; once there are none, it only closes.
class ScriptedHub {
 public:
  ScriptedHub() : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    const bool listens = ::bind(listener_, generic, size) == 0 && ::listen(listener_, 16) == 0 &&
                         ::getsockname(listener_, generic, &size) == 0;
    fuzz_check(listens, "a port of loopback can be had");
    port_ = ntohs(address.sin_port);
    std::thread([this] { serve(); }).detach();   // until the process ends
  }

  [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

  void set_answers(std::vector<std::string> answers) {
    const std::lock_guard lock(mutex_);
    answers_ = std::move(answers);
    std::reverse(answers_.begin(), answers_.end());
  }

 private:
  std::string next_answer() {
    const std::lock_guard lock(mutex_);
    if (answers_.empty()) return {};
    std::string answer = std::move(answers_.back());
    answers_.pop_back();
    return answer;
  }

  void serve() {
    for (;;) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) continue;
      std::string request;
      char bytes[4096];
      ssize_t got = 0;
      while (request.find("\r\n\r\n") == std::string::npos && (got = ::read(connection, bytes, sizeof bytes)) > 0)
        request.append(bytes, static_cast<size_t>(got));
      const std::string answer = next_answer();
      (void)::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);   // the client may have left already
      ::close(connection);
    }
  }

  int listener_;
  int port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> answers_;   // the next one last
};

// Answers end with a line "--"; "@" is the Hub's own address. Lines may end as they do on the wire or by "\n" alone.
std::vector<std::string> answers_in(std::string_view input, const std::string& url) {
  std::vector<std::string> answers(1);
  for (size_t at = 0; at < input.size();) {
    const size_t end = std::min(input.find('\n', at), input.size());
    std::string_view line = input.substr(at, end - at);
    at = end + 1;
    if (line == "--") {
      answers.emplace_back();
      continue;
    }
    for (const char c : line) {
      if (c == '@') answers.back() += url;
      else answers.back() += c;
    }
    answers.back() += line.ends_with('\r') ? "\n" : "\r\n";
  }
  return answers;
}

}  // namespace

void fuzz_hub(std::string_view input) {
  static ScriptedHub& hub = *new ScriptedHub;   // its thread may outlive all else
  if (input.find("://") != std::string_view::npos) return;   // no redirect leads elsewhere
  hub.set_answers(answers_in(input, hub.url()));
  const HubConfig config{.endpoint = hub.url(), .home = {}, .cache_dir = {}, .token = "secret"};
  HubClient client(config, "org/model");
  const std::string commit(40, 'c');
  const Result<HubListing> listing = client.list();
  if (!listing) fuzz_check_message(listing.error().message);
  else fuzz_check(is_commit(listing->commit), "a listing's commit is one");
  const Result<HubFile> file = client.look_up(commit, "config.json");
  if (!file) return fuzz_check_message(file.error().message);
  fuzz_check(is_etag(file->etag), "a blob's name leads nowhere else");
  std::string contents;
  uint64_t first = 0;
  const Status read = client.read(
      *file, 5,
      [&](uint64_t offset) -> Status {
        first = offset;
        return {};
      },
      [&](std::string_view piece) {
        contents += piece;
        return true;
      });
  if (!read) fuzz_check_message(read.error().message);
  fuzz_check(first == 0 || first == 5, "a part begins where it was asked for, or at the beginning");
}

}  // namespace gale
