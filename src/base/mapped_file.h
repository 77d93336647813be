#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"

namespace gale {

// A whole file mapped read-only. Empty files map to an empty span. Errors name the path and the cause.
class MappedFile {
 public:
  [[nodiscard]] static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole file as a string, if it is a regular file of at most `limit` bytes.
[[nodiscard]] Result<std::string> read_file(const std::string& path, size_t limit);

}  // namespace gale
