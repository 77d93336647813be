#include "app/machine_facts.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/unique_fd.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<pid_t> all_ids() {
  std::vector<pid_t> out;
  std::error_code trouble;
  for (const auto& entry : fs::directory_iterator("/proc", trouble)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (code == std::errc() && end == name.data() + name.size()) out.push_back(pid);
  }
  return out;
}

// "gale engine" for a gale, else the program's own name.
std::string name_of(pid_t pid) {
  std::string name = content_of(fmt::format("/proc/{}/comm", pid));
  while (!name.empty() && name.back() == '\n') name.pop_back();
  const std::vector<std::string> arguments = arguments_of(pid);
  const std::string second = arguments.size() > 1 ? arguments[1] : "";
  for (const char* known : {"serve", "engine", "ui", "grammar-compiler"}) {
    if (second == known) return fmt::format("gale {}", known);
  }
  return name;
}

std::optional<ProcessFacts> facts_of(pid_t pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  const std::string status = folder + "/status";
  const std::string resident = line_of(status, "VmRSS:");
  if (resident.empty()) return std::nullopt;   // gone, or the kernel's own
  ProcessFacts out{.pid = pid, .parent = 0, .name = name_of(pid), .resident_bytes = 0};
  std::istringstream(resident) >> out.resident_bytes;
  out.resident_bytes *= 1024;
  std::istringstream(line_of(status, "PPid:")) >> out.parent;
  return out;
}

// Sockets that listen on the port, by their numbers in /proc/net.
std::vector<std::string> listening_inodes(int port) {
  constexpr const char* kListening = "0A";
  const std::string wanted = fmt::format(":{:04X}", port);
  std::vector<std::string> out;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      const std::vector<std::string> parts{std::istream_iterator<std::string>(fields), {}};
      constexpr size_t kLocal = 1, kState = 3, kInode = 9;
      if (parts.size() > kInode && parts[kLocal].ends_with(wanted) && parts[kState] == kListening)
        out.push_back(fmt::format("socket:[{}]", parts[kInode]));
    }
  }
  return out;
}

bool holds_one_of(pid_t pid, const std::vector<std::string>& sockets) {
  std::error_code trouble;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), trouble)) {
    std::error_code gone;
    const std::string target = fs::read_symlink(entry.path(), gone);
    if (std::ranges::find(sockets, target) != sockets.end()) return true;
  }
  return false;
}

}  // namespace

std::vector<ProcessFacts> all_processes() {
  std::vector<ProcessFacts> out;
  for (const pid_t pid : all_ids()) {
    if (std::optional<ProcessFacts> facts = facts_of(pid)) out.push_back(std::move(*facts));
  }
  std::ranges::sort(out, std::ranges::greater(), &ProcessFacts::resident_bytes);
  return out;
}

std::vector<std::string> arguments_of(pid_t pid) {
  const std::string text = content_of(fmt::format("/proc/{}/cmdline", pid));
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\0', begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::optional<ProcessFacts> listener_of(int port) {
  const std::vector<std::string> sockets = listening_inodes(port);
  if (sockets.empty()) return std::nullopt;
  for (const pid_t pid : all_ids()) {
    if (holds_one_of(pid, sockets)) return facts_of(pid).value_or(ProcessFacts{.pid = pid});
  }
  return ProcessFacts{};
}

std::string line_of(const std::string& path, const std::string& prefix) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with(prefix)) continue;
    const size_t begin = line.find_first_not_of(" \t", prefix.size());
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

std::string output_of(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const bool is_started = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ) == 0;
  ::posix_spawn_file_actions_destroy(&actions);
  writing.reset();
  if (!is_started) return {};
  std::string out;
  std::array<char, 4096> piece{};
  for (ssize_t got = 0; (got = ::read(reading.get(), piece.data(), piece.size())) > 0;)
    out.append(piece.data(), static_cast<size_t>(got));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? out : std::string();
}

}  // namespace gale
