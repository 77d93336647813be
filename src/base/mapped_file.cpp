#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/fault_point.h"

namespace gale {
namespace {

struct OpenFile {
  int descriptor;
  size_t size;
  explicit OpenFile(int d, size_t s) : descriptor(d), size(s) {}
  OpenFile(OpenFile&& other) noexcept : descriptor(std::exchange(other.descriptor, -1)), size(other.size) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile() {
    if (descriptor >= 0) ::close(descriptor);
  }
};

Result<OpenFile> open_regular(const std::string& path) {
  const int descriptor = fault_happens("file.open") ? (errno = EMFILE, -1) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const ErrorCode code = errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kCorrupt;
    return fail(code, "cannot open {}: {}", path, std::strerror(errno));
  }
  OpenFile file(descriptor, 0);
  struct stat info {};
  if (::fstat(descriptor, &info) != 0)
    return fail(ErrorCode::kCorrupt, "cannot stat {}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return fail(ErrorCode::kCorrupt, "{} is not a regular file", path);
  file.size = static_cast<size_t>(info.st_size);
  return file;
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  GALE_ASSIGN(const OpenFile file, open_regular(path));
  if (file.size == 0) return MappedFile(path, nullptr, 0);
  void* data = fault_happens("file.map") ? (errno = ENOMEM, MAP_FAILED)
                                         : ::mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, file.descriptor, 0);
  if (data == MAP_FAILED) return fail(ErrorCode::kOutOfMemory, "cannot map {}: {}", path, std::strerror(errno));
  return MappedFile(path, static_cast<const std::byte*>(data), file.size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  GALE_ASSIGN(const OpenFile file, open_regular(path));
  if (file.size > limit) return fail(ErrorCode::kTooLarge, "{} has {} bytes; the limit is {}", path, file.size, limit);
  std::string text(file.size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    ssize_t got = ::read(file.descriptor, text.data() + done, text.size() - done);
    if (fault_happens("file.read")) got = (errno = EIO, -1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(ErrorCode::kCorrupt, "cannot read {}: {}", path, std::strerror(errno));
    if (got == 0) return fail(ErrorCode::kCorrupt, "{} shrank while it was read", path);
    done += static_cast<size_t>(got);
  }
  return text;
}

}  // namespace gale
