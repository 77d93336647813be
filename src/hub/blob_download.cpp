#include "hub/blob_download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "hub/file_digest.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxTries = 6;   // in a row that bring nothing
constexpr std::chrono::milliseconds kFirstPause{250};
constexpr size_t kReadBytes = size_t{1} << 20;

uint64_t size_of(const std::string& path) {
  std::error_code trouble;
  const auto size = fs::file_size(path, trouble);
  return trouble ? 0 : size;
}

// The contents while they come: a file that may hold a beginning already.
class PartialBlob {
 public:
  PartialBlob(const HubCache& cache, const HubFile& file, DownloadProgress& progress)
      : path_(cache.blob(file.etag) + ".incomplete"), file_(file), digest_(file.etag, file.size), progress_(progress) {}

  [[nodiscard]] Status open();
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] bool is_whole() const { return size_ == file_.size; }
  [[nodiscard]] Status truncate();
  [[nodiscard]] Status append(std::string_view bytes);
  // Gives it its name, if its contents are those of that name; else it is empty again.
  [[nodiscard]] Status finish(const std::string& name);

 private:
  [[nodiscard]] tl::unexpected<Error> trouble() const;

  const std::string path_;
  const HubFile file_;
  FileDigest digest_;
  DownloadProgress& progress_;
  UniqueFd fd_;
  uint64_t size_ = 0;
};

tl::unexpected<Error> PartialBlob::trouble() const {
  if (errno != ENOSPC && errno != EDQUOT)
    return fail(ErrorCode::kForbidden, "cannot write {}: {}", path_, std::strerror(errno));
  return fail(ErrorCode::kForbidden,
              "the disk of {} is full: {} more bytes of this file are needed; what came is kept. Make room, or name "
              "another place with --download-dir",
              path_, file_.size - size_);
}

Status PartialBlob::open() {
  fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd_.is_open()) return trouble();
  std::array<char, kReadBytes / 16> buffer;
  for (ssize_t got = 1; got > 0;) {
    got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR)
      got = 1;
    else if (got < 0)
      return trouble();
    else
      digest_.add(std::string_view(buffer.data(), static_cast<size_t>(got))), size_ += static_cast<uint64_t>(got);
  }
  if (size_ <= file_.size) return {};
  return truncate();
}

Status PartialBlob::truncate() {
  if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0) return trouble();
  progress_.take_back(size_);
  size_ = 0;
  digest_.restart();
  return {};
}

Status PartialBlob::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return trouble();
    digest_.add(bytes.substr(0, static_cast<size_t>(written)));
    size_ += static_cast<uint64_t>(written);
    progress_.add(static_cast<uint64_t>(written));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Status PartialBlob::finish(const std::string& name) {
  if (!digest_.matches()) {
    GALE_TRY(truncate());
    return fail(ErrorCode::kCorrupt, "{}: what arrived is not what its hash says", name);
  }
  if (::fdatasync(fd_.get()) != 0 || ::rename(path_.c_str(), name.c_str()) != 0) return trouble();
  return {};
}

// One attempt: from where the file ends to where the connection does.
Status read_rest(HubClient& client, const HubFile& file, PartialBlob& blob, const std::function<bool()>& is_cancelled) {
  Status written;
  const auto begin = [&](uint64_t offset) -> Status {
    if (offset == blob.size()) return {};
    return blob.truncate();   // the store knows no parts
  };
  const auto on_piece = [&](std::string_view piece) {
    if (is_cancelled())
      written = fail(ErrorCode::kCancelled, "the download was ended; what came is kept");
    else if (piece.size() > file.size - blob.size())
      written = fail(ErrorCode::kCorrupt, "more bytes came than the file has");
    else
      written = blob.append(piece);
    return written.has_value();
  };
  const Status read = client.read(file, blob.size(), begin, on_piece);
  if (!written) return written;
  GALE_TRY(read);
  if (!blob.is_whole()) return fail(ErrorCode::kUnavailable, "the store closed early");
  return {};
}

bool may_pass(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kDeadline ||
         error.code == ErrorCode::kCorrupt;
}

Status wait(std::chrono::milliseconds pause, const std::function<bool()>& is_cancelled) {
  constexpr std::chrono::milliseconds kLook{50};
  for (; pause > std::chrono::milliseconds(0); pause -= kLook) {
    if (is_cancelled()) return fail(ErrorCode::kCancelled, "the download was ended; what came is kept");
    std::this_thread::sleep_for(kLook);
  }
  return {};
}

// Until it is whole, or nothing has come for several tries. Addresses of stores expire, so each try asks anew.
Status read_whole(HubClient& client, const HubFile& first, PartialBlob& blob, const BlobWish& wish) {
  HubFile file = first;
  int num_tries = 0;
  for (std::chrono::milliseconds pause = kFirstPause; !blob.is_whole(); pause *= 2) {
    const uint64_t before = blob.size();
    Status read = read_rest(client, file, blob, wish.is_cancelled);
    if (read) break;
    if (!may_pass(read.error())) return read;
    if (read.error().code == ErrorCode::kCorrupt) GALE_TRY(blob.truncate());
    if (blob.size() > before) num_tries = 0, pause = kFirstPause;
    if (++num_tries >= kMaxTries) {
      read.error().message = fmt::format("{}: {}, {} of {} bytes are there; start again to go on", wish.file,
                                         read.error().message, blob.size(), first.size);
      return read;
    }
    log_warning("{}: {}; trying again from byte {}", wish.file, read.error().message, blob.size());
    GALE_TRY(wait(pause, wish.is_cancelled));
    const Result<HubFile> fresh = client.look_up(wish.commit, wish.file);
    if (fresh && fresh->etag == first.etag) file.url = fresh->url;
  }
  return {};
}

}   // namespace

uint64_t num_bytes_there(const HubCache& cache, const HubFile& file) {
  const uint64_t whole = size_of(cache.blob(file.etag));
  return whole > 0 ? whole : size_of(cache.blob(file.etag) + ".incomplete");
}

Status download_blob(HubClient& client, const HubCache& cache, const BlobWish& wish, DownloadProgress& progress) {
  Result<HubFile> known = client.look_up(wish.commit, wish.file);
  for (int i = 1; !known && may_pass(known.error()) && i < kMaxTries; ++i) {
    GALE_TRY(wait(kFirstPause * i, wish.is_cancelled));
    known = client.look_up(wish.commit, wish.file);
  }
  if (!known) return tl::unexpected(known.error());
  const HubFile& file = *known;
  const std::string name = cache.blob(file.etag);
  std::error_code trouble;
  if (!fs::exists(name, trouble)) {
    GALE_ASSIGN(const UniqueFd lock, cache.lock(file.etag, wish.is_cancelled));
    constexpr int kMaxCorrupt = 2;
    for (int i = 1; !fs::exists(name, trouble); ++i) {   // it may have come while the lock was another's
      PartialBlob blob(cache, file, progress);
      GALE_TRY(blob.open());
      GALE_TRY(read_whole(client, file, blob, wish));
      const Status finished = blob.finish(name);
      if (!finished && (finished.error().code != ErrorCode::kCorrupt || i == kMaxCorrupt)) return finished;
      if (!finished) log_warning("{}; it is downloaded again", finished.error().message);
    }
  }
  return cache.link(wish.commit, wish.file, file.etag);
}

}   // namespace gale
