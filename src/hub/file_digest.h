#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace gale {

// What a blob's name says of its contents: large files are named by their SHA-256, others as git names them
// (SHA-1 of "blob SIZE", NUL and the contents). Names of other forms say nothing.
class FileDigest {
 public:
  FileDigest(std::string etag, uint64_t size);
  FileDigest(const FileDigest&) = delete;
  FileDigest& operator=(const FileDigest&) = delete;
  ~FileDigest();

  void restart();
  void add(std::string_view bytes);
  // Whether all that was added is what the name says. Once after each restart.
  [[nodiscard]] bool matches();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  const std::string etag_;
  const uint64_t size_;
  const std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}   // namespace gale
