#include "hub/hub_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "base/mapped_file.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCommitLength = 40;
constexpr size_t kMaxNameLength = 200;

Status make_folder(const std::string& path) {
  std::error_code trouble;
  fs::create_directories(path, trouble);
  if (!trouble) return {};
  return fail(ErrorCode::kUnavailable, "cannot make {}: {}; name another place with --download-dir", path,
              trouble.message());
}

// Under a name that no other process takes.
std::string beside(const std::string& path) { return fmt::format("{}.{}.tmp", path, ::getpid()); }

Status replace(const std::string& made, const std::string& path) {
  if (::rename(made.c_str(), path.c_str()) == 0) return {};
  const int cause = errno;
  ::unlink(made.c_str());
  return fail(ErrorCode::kUnavailable, "cannot write {}: {}", path, std::strerror(cause));
}

}   // namespace

bool is_word(std::string_view text, std::string_view more) {
  return std::ranges::all_of(text, [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || more.find(c) != std::string_view::npos;
  });
}

std::string without_trailing_space(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

bool is_commit(std::string_view text) {
  return text.size() == kCommitLength && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_etag(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameLength && text.front() != '.' && is_word(text, "-_.");
}

bool is_revision(std::string_view text) {
  const bool has_empty_part = text.starts_with('/') || text.ends_with('/') || text.find("//") != std::string_view::npos;
  return !text.empty() && text.size() <= kMaxNameLength && !has_empty_part && text.front() != '.' &&
         text.find("..") == std::string_view::npos && text.find("/.") == std::string_view::npos &&
         is_word(text, "-_./");
}

bool is_plain_file_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameLength && text.front() != '.' && is_word(text, "-_. +");
}

HubCache::HubCache(const std::string& cache_dir, const std::string& name) {
  std::string folder = "models--" + name;
  const size_t slash = folder.find('/');
  if (slash != std::string::npos) folder.replace(slash, 1, "--");
  folder_ = cache_dir + "/" + folder;
  locks_ = cache_dir + "/.locks/" + folder;
}

bool HubCache::has(const std::string& commit, const std::string& file) const {
  std::error_code trouble;
  return fs::is_regular_file(snapshot(commit) + "/" + file, trouble);
}

std::optional<std::string> HubCache::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  constexpr size_t kLongest = 100;
  const std::string text =
      without_trailing_space(read_file(folder_ + "/refs/" + revision, kLongest).value_or(""));
  return is_commit(text) ? std::optional(text) : std::nullopt;
}

Status HubCache::set_commit(const std::string& revision, const std::string& commit) const {
  if (commit_of(revision) == commit) return {};
  const std::string path = folder_ + "/refs/" + revision;
  GALE_TRY(make_folder(fs::path(path).parent_path()));
  const std::string made = beside(path);
  const UniqueFd file(::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.is_open() || ::write(file.get(), commit.data(), commit.size()) != static_cast<ssize_t>(commit.size()))
    return fail(ErrorCode::kUnavailable, "cannot write {}: {}", made, std::strerror(errno));
  return replace(made, path);
}

Status HubCache::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  const std::string path = snapshot(commit) + "/" + file;
  const std::string target = "../../blobs/" + etag;
  std::error_code trouble;
  if (fs::read_symlink(path, trouble) == target) return {};
  const std::string made = beside(path);
  ::unlink(made.c_str());
  if (::symlink(target.c_str(), made.c_str()) != 0)
    return fail(ErrorCode::kUnavailable, "cannot write {}: {}", made, std::strerror(errno));
  return replace(made, path);
}

Status HubCache::make_folders(const std::string& commit) const {
  for (const std::string& path : {snapshot(commit), folder_ + "/blobs", folder_ + "/refs", locks_}) {
    GALE_TRY(make_folder(path));
  }
  return {};
}

Result<UniqueFd> HubCache::lock(const std::string& etag, const std::function<bool()>& is_cancelled) const {
  const std::string path = locks_ + "/" + etag + ".lock";
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.is_open()) return fail(ErrorCode::kUnavailable, "cannot write {}: {}", path, std::strerror(errno));
  for (bool is_told = false; ::flock(file.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return fail(ErrorCode::kUnavailable, "cannot lock {}: {}", path, std::strerror(errno));
    if (is_cancelled()) return fail(ErrorCode::kCancelled, "the download was ended");
    if (!std::exchange(is_told, true)) log_info("{} is being downloaded already: waiting for it", blob(etag));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return file;
}

}   // namespace gale
